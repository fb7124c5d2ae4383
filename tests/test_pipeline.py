"""dvc.yaml against the scripts: what a stage reads is what it declares, no more and no less."""

import ast
from pathlib import Path

import pytest
from conftest import ROOT
from ruamel.yaml import YAML

from benchmarks.common import copy_project
from glassbox.config.parameters import Params
from glassbox.provenance import pipeline

PIPELINE = YAML(typ="safe", pure=True).load((ROOT / "dvc.yaml").read_text())
STAGES = PIPELINE["stages"]
OF_THE_USER = {"data/raw", "data/weights"}  # whose files params.yaml names
NAMES = ["prepare", "tune", "train", "evaluate", "explain", "score", "report"]


def test_the_stages_and_their_commands():
    assert list(STAGES) == NAMES
    for name, stage in STAGES.items():
        assert stage["cmd"] == f"python -m stages.{name}"


def test_declared_code_is_imported_code(tmp_path):
    (tmp_path / "dvc.yaml").write_text((ROOT / "dvc.yaml").read_text())
    assert pipeline.write(tmp_path) == [], "run 'python -m glassbox pipeline'"


ALL = "params.yaml"


def sections(name: str) -> dict[str, str]:
    """The sections that a stage loads, and what it calls each of them."""
    tree = ast.parse((ROOT / "stages" / f"{name}.py").read_text())
    return {
        section.id.lower(): called.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and ast.unparse(node.value).startswith("load(")
        for section, called in zip(node.value.args, node.targets[0].elts, strict=True)
    }


def loaded(name: str) -> set[str]:
    """What a stage uses of the parameters: a section as a whole, or else those of its keys that it names; all of the
    file where it reads that."""
    tree = ast.parse((ROOT / "stages" / f"{name}.py").read_text())
    nodes = list(ast.walk(tree))
    keys = {ALL} if any(ast.unparse(node) == "parameters.read()" for node in nodes) else set()
    for section, called in sections(name).items():
        uses = [node for node in nodes if isinstance(node, ast.Name) and node.id == called][1:]  # the first binds it
        named = [node for node in nodes if isinstance(node, ast.Attribute) and ast.unparse(node.value) == called]
        keys |= {f"{section}.{node.attr}" for node in named} if len(named) == len(uses) else {section}
    return keys


@pytest.mark.parametrize("name", NAMES)
def test_declared_parameters_are_loaded_parameters(name):
    assert set(STAGES[name].get("params", [])) | {ALL} & set(STAGES[name]["deps"]) == loaded(name)


@pytest.mark.parametrize("name", NAMES[:-1])
def test_a_stage_is_made_of_the_schemas_of_its_own_sections_and_of_no_others(name):
    """So a new key reruns the stages that read its section."""
    schemas = {f"src/glassbox/config/{section}.py" for section in Params.model_fields}
    assert schemas & set(STAGES[name]["deps"]) == {f"src/glassbox/config/{section}.py" for section in sections(name)}


def test_all_parameters_are_shown_and_compared():
    assert PIPELINE["params"] == [ALL]


def paths(name: str) -> set[str]:
    """The paths that a stage's script names in its constants."""
    tree = ast.parse((ROOT / "stages" / f"{name}.py").read_text())
    constants = [node for node in tree.body if isinstance(node, ast.Assign)]
    return {value.value for node in constants for value in ast.walk(node.value) if isinstance(value, ast.Constant)}


def outs(name: str) -> set[str]:
    """The paths that a stage makes."""
    return {out if isinstance(out, str) else next(iter(out)) for out in STAGES[name]["outs"]}


def is_of(dep: str, made: set[str]) -> bool:
    return any(dep == out or dep.startswith(f"{out}/") for out in made)


@pytest.mark.parametrize("name", NAMES[:-1])
def test_declared_files_are_the_scripts_files(name):
    stage = STAGES[name]
    read = {dep for dep in stage["deps"] if not dep.startswith(("src", "stages"))} - OF_THE_USER
    unshared = {"data/search"}  # the search's journal: it outlives its stage, so that an interrupted one goes on
    assert read | set(stage["outs"]) == paths(name) - unshared


@pytest.mark.parametrize("name", ["evaluate", "explain", "score"])
def test_unfinished_work_is_named_by_every_file_that_decides_it(name):
    """What an earlier process has done must not go on with other weights, predictions or another temperature."""
    tree = ast.parse((ROOT / "stages" / f"{name}.py").read_text())
    constants = {
        key.id: value.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        for key, value in zip(node.targets[0].elts, node.value.elts, strict=True)
    }
    (call,) = (
        node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "resume.digest"
    )
    read = {dep for dep in STAGES[name]["deps"] if not dep.startswith(("src", "stages"))}
    assert {constants[arg.id] for arg in call.args} == read - {"data/prepared"}  # whose digest stands beside it


def test_every_file_that_is_read_is_made_by_an_earlier_stage():
    made: set[str] = set()
    for name in NAMES:
        for dep in STAGES[name]["deps"]:
            if not dep.startswith(("src", "stages", ALL, *OF_THE_USER, "requirements.lock")):
                assert is_of(dep, made), f"{name} reads {dep}"
        made |= outs(name)


def test_a_benchmarks_copy_of_the_project_holds_all_that_stages_read(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    copy_project(tmp_path)
    made = set().union(*map(outs, NAMES))
    given = {dep for name in NAMES for dep in STAGES[name]["deps"] if not is_of(dep, made)}
    assert not [path for path in given if not (tmp_path / path).exists()]


def test_outs_are_ignored_by_git_but_for_the_small_summary():
    import subprocess

    def ignored(path: str) -> bool:
        return subprocess.run(["git", "check-ignore", "-q", path], cwd=ROOT, check=False).returncode == 0

    declared = [out for name in NAMES for out in STAGES[name]["outs"]]
    assert [out for out in declared if isinstance(out, str) and not ignored(out)] == []
    assert declared[-1] == {"reports/summary.json": {"cache": False}}
    assert not ignored("reports/summary.json")
    assert not ignored("dvc.lock")
    assert ignored("mlruns/mlflow.db")
    assert ignored("data/raw/mine/cats/1.png")
    assert not ignored("data/raw/mine.dvc")
    assert ignored("data/weights/resnet18.pth")
    assert not ignored("data/weights/resnet18.pth.dvc")


def test_mlflow_optuna_and_ray_are_imported_in_one_package_each():
    for module, home in (("mlflow", "tracking"), ("optuna", "search"), ("ray", "ray_cluster"), ("dvc", None)):
        for path in [*(ROOT / "src").rglob("*.py"), *(ROOT / "stages").glob("*.py")]:
            names = [
                alias.name if isinstance(node, ast.Import) else node.module
                for node in ast.walk(ast.parse(path.read_text()))
                if isinstance(node, ast.Import | ast.ImportFrom)
                for alias in node.names
            ]
            if path.parent.name != home:
                assert not [name for name in names if name.split(".")[0] == module], path


def test_only_tracking_reads_dvcs_environment():
    for path in [*(ROOT / "src").rglob("*.py"), *(ROOT / "stages").glob("*.py")]:
        if path.parent.name != "tracking":
            assert '"DVC_' not in path.read_text(), path


def test_stages_are_thin():
    """Imports aside: each section, and each helper, has a line of them."""
    for name in NAMES:
        text = (ROOT / "stages" / f"{name}.py").read_text()
        imports = [node for node in ast.parse(text).body if isinstance(node, ast.Import | ast.ImportFrom)]
        assert len(text.splitlines()) - len(imports) <= 80, name


def test_nothing_in_the_project_names_a_registry_or_this_machine():
    import subprocess

    names = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    for name in names:
        path = ROOT / name
        if (
            path.is_file()
            and path.suffix in (".py", ".md", ".toml", ".yaml", ".lock", ".html", "")
            and path != Path(__file__)
        ):
            text = path.read_text(encoding="utf-8")
            assert str(ROOT) not in text, name
            assert "index-url" not in text, name
            assert "pypi" not in text.lower(), name
