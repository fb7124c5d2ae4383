"""dvc.yaml against the scripts: a stage declares exactly what it reads."""

import ast
import subprocess
from functools import cache
from pathlib import Path

import pytest
from conftest import NAMES, ROOT
from ruamel.yaml import YAML

from benchmarks.common import copy_project
from glassbox.config.parameters import Params
from glassbox.provenance import pipeline

PIPELINE = YAML(typ="safe", pure=True).load((ROOT / "dvc.yaml").read_text())
STAGES = PIPELINE["stages"]
OF_THE_USER = {"data/raw", "data/weights"}  # whose files params.yaml names
ALL = "params.yaml"


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def script(name: str) -> ast.Module:
    return parsed(ROOT / "stages" / f"{name}.py")


def test_the_stages_and_their_commands():
    assert {name: stage["cmd"] for name, stage in STAGES.items()} == {
        name: f"python -m stages.{name}" for name in NAMES
    }
    assert list(STAGES) == NAMES
    assert PIPELINE["params"] == [ALL], "all parameters are shown and compared"


def test_declared_code_is_imported_code(tmp_path):
    (tmp_path / "dvc.yaml").write_text((ROOT / "dvc.yaml").read_text())
    assert pipeline.write(tmp_path) == [], "run 'python -m glassbox pipeline'"


def sections(name: str) -> dict[str, str]:
    """The sections that a stage loads, and its variable for each."""
    return {
        section.id.lower(): variable.id
        for node in ast.walk(script(name))
        if isinstance(node, ast.Assign) and ast.unparse(node.value).startswith("load(")
        for section, variable in zip(node.value.args, node.targets[0].elts, strict=True)
    }


def loaded(name: str) -> set[str]:
    """The parameters that a stage uses: a section, or the keys of it that the stage names; the file if it reads all."""
    nodes = list(ast.walk(script(name)))
    keys = {ALL} if any(ast.unparse(node) == "parameters.read()" for node in nodes) else set()
    for section, variable in sections(name).items():
        uses = [node for node in nodes if isinstance(node, ast.Name) and node.id == variable][1:]  # the first binds it
        named = [node for node in nodes if isinstance(node, ast.Attribute) and ast.unparse(node.value) == variable]
        keys |= {f"{section}.{node.attr}" for node in named} if len(named) == len(uses) else {section}
    return keys


@pytest.mark.parametrize("name", NAMES)
def test_declared_parameters_are_loaded_parameters(name):
    assert set(STAGES[name].get("params", [])) | {ALL} & set(STAGES[name]["deps"]) == loaded(name)


@pytest.mark.parametrize("name", NAMES[:-1])
def test_a_stage_depends_on_the_schemas_of_its_own_sections_and_of_those_that_made_its_network(name):
    """So a new key reruns the stages that read its section; one of model or train, which trains the network anew, may
    rerun those after training as well."""
    schemas = {
        section for section in Params.model_fields if f"src/glassbox/config/{section}.py" in STAGES[name]["deps"]
    }
    trained = {"model", "train"} if NAMES.index(name) > NAMES.index("train") else set()
    assert {*sections(name)} <= schemas <= {*sections(name)} | trained


def test_the_stages_that_make_networks_depend_on_the_users_own():
    assert {name for name in NAMES if "networks" in STAGES[name]["deps"]} == {*NAMES} - {"prepare"}


def constants(name: str) -> dict[str, str]:
    """The constants at the top of a stage's script, which are paths."""
    return {
        key.id: value.value
        for node in script(name).body
        if isinstance(node, ast.Assign)
        for key, value in zip(
            getattr(node.targets[0], "elts", node.targets), getattr(node.value, "elts", [node.value]), strict=True
        )
    }


def files_read(name: str) -> set[str]:
    """The files, besides code, on which a stage depends."""
    return {dep for dep in STAGES[name]["deps"] if not dep.startswith(("src", "stages", "networks"))}


def outs(name: str) -> set[str]:
    """The paths that a stage writes."""
    return {out if isinstance(out, str) else next(iter(out)) for out in STAGES[name]["outs"]}


@pytest.mark.parametrize("name", NAMES[:-1])
def test_declared_files_are_the_scripts_files(name):
    search = {"data/search"}  # the search's journal: it outlives its stage, so that an interrupted one goes on
    assert files_read(name) - OF_THE_USER | outs(name) == set(constants(name).values()) - search


@pytest.mark.parametrize("name", ["evaluate", "explain", "score", "audit", "repair"])
def test_unfinished_work_is_named_by_every_file_that_determines_it(name):
    """Work must not go on with other weights, predictions or another temperature."""
    calls = [node for node in ast.walk(script(name)) if isinstance(node, ast.Call)]
    (call,) = (node for node in calls if ast.unparse(node.func) == "resume.digest")
    hashed = {constants(name)[arg.id] for arg in call.args}
    assert hashed == files_read(name) - {"data/prepared"}, "whose digest stands beside it"


def test_every_file_that_is_read_is_written_by_an_earlier_stage():
    written: set[str] = set()
    for name in NAMES:
        for dep in files_read(name) - {ALL, *OF_THE_USER, "requirements.lock"}:
            assert any(Path(dep).is_relative_to(out) for out in written), f"{name} reads {dep}"
        written |= outs(name)


def test_a_benchmarks_copy_of_the_project_holds_all_that_stages_read(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    copy_project(tmp_path)
    written = set().union(*map(outs, NAMES))
    deps = {dep for name in NAMES for dep in STAGES[name]["deps"]}
    given = {dep for dep in deps if not any(Path(dep).is_relative_to(out) for out in written)}
    assert not [path for path in given if not (tmp_path / path).exists()]


def test_git_ignores_outs_except_the_small_summary():
    summary = STAGES["report"]["outs"][-1]
    assert summary == {"reports/summary.json": {"cache": False}}
    cached = {out for name in NAMES for out in outs(name)} - {*summary}
    ignored = {*cached, "mlruns/mlflow.db", "data/raw/mine/cats/1.png", "data/weights/resnet18.pth"}
    kept = {*summary, "dvc.lock", "data/raw/mine.dvc", "data/weights/resnet18.pth.dvc"}
    command = ["git", "check-ignore", *ignored, *kept]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert set(shown.splitlines()) == ignored


def test_mlflow_optuna_and_ray_are_imported_and_dvcs_variables_read_in_one_package_each():
    homes = {"mlflow": "tracking", "optuna": "search", "ray": "ray_cluster", "dvc": None}
    for path in [*(ROOT / "src").rglob("*.py"), *(ROOT / "stages").glob("*.py")]:
        for node in ast.walk(parsed(path)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                assert homes.get(name.split(".")[0], path.parent.name) == path.parent.name, path
        assert '"DVC_' not in path.read_text() or path.parent.name == "tracking", path


def test_stages_are_thin():
    """Imports aside, each section and each helper has a line of them."""
    for name in NAMES:
        imports = [node for node in script(name).body if isinstance(node, ast.Import | ast.ImportFrom)]
        assert len((ROOT / "stages" / f"{name}.py").read_text().splitlines()) - len(imports) <= 80, name


def test_no_file_names_a_registry_or_this_machine():
    names = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    for path in (ROOT / name for name in names):
        if path.suffix in (".py", ".md", ".toml", ".yaml", ".lock", ".html", "") and path != Path(__file__):
            text = path.read_text(encoding="utf-8") if path.is_file() else ""
            for word in (str(ROOT).lower(), "index-url", "pypi"):
                assert word not in text.lower(), path
