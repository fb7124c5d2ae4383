"""dvc.yaml against the scripts: what a stage reads is what it declares, no more and no less."""

import ast
from pathlib import Path

import pytest
from imports import ROOT, transitive
from ruamel.yaml import YAML

from benchmarks.common import copy_project

PIPELINE = YAML(typ="safe", pure=True).load((ROOT / "dvc.yaml").read_text())
STAGES = PIPELINE["stages"]
OF_THE_USER = {"data/raw", "data/weights"}  # whose files params.yaml names
NAMES = ["prepare", "tune", "train", "evaluate", "explain", "score", "report"]


def code(name: str) -> tuple[set[str], set[str]]:
    """The code that a stage declares and the code that it imports."""
    declared = {dep for dep in STAGES[name]["deps"] if dep.startswith(("src", "stages"))}
    needed = transitive(ROOT / "stages" / f"{name}.py") | {ROOT / "stages" / f"{name}.py"}
    return declared, {path.relative_to(ROOT).as_posix() for path in needed}


def test_the_stages_and_their_commands():
    assert list(STAGES) == NAMES
    for name, stage in STAGES.items():
        assert stage["cmd"] == f"python -m stages.{name}"


@pytest.mark.parametrize("name", NAMES)
def test_declared_code_is_imported_code(name):
    declared, needed = code(name)
    missing = {file for file in needed if not any(file == dep or file.startswith(f"{dep}/") for dep in declared)}
    assert not missing, f"dvc.yaml, stage {name}, deps: add {sorted(missing)}"
    files = {dep for dep in declared if dep.endswith(".py")}
    assert files <= needed, f"dvc.yaml, stage {name}, deps: remove {sorted(files - needed)}"


ALL = "params.yaml"


def loaded(name: str) -> set[str]:
    """The keys that a stage passes to config.load; all of the file where it calls config.read."""
    tree = ast.parse((ROOT / "stages" / f"{name}.py").read_text())
    calls = [
        node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("config.")
    ]
    keys = {arg.value for call in calls if ast.unparse(call.func) == "config.load" for arg in call.args}
    if any(ast.unparse(call.func) == "config.read" for call in calls):
        keys.add(ALL)
    return keys


@pytest.mark.parametrize("name", NAMES)
def test_declared_parameters_are_loaded_parameters(name):
    assert set(STAGES[name].get("params", [])) | {ALL} & set(STAGES[name]["deps"]) == loaded(name)


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


def test_only_tracking_imports_mlflow_and_only_tuning_imports_optuna():
    for module, home in (("mlflow", "tracking.py"), ("optuna", "tuning.py"), ("dvc", None)):
        for path in [*(ROOT / "src").rglob("*.py"), *(ROOT / "stages").glob("*.py")]:
            names = [
                alias.name if isinstance(node, ast.Import) else node.module
                for node in ast.walk(ast.parse(path.read_text()))
                if isinstance(node, ast.Import | ast.ImportFrom)
                for alias in node.names
            ]
            if path.name != home:
                assert not [name for name in names if name.split(".")[0] == module], path


def test_only_tracking_reads_dvcs_environment():
    for path in [*(ROOT / "src").rglob("*.py"), *(ROOT / "stages").glob("*.py")]:
        if path.name != "tracking.py":
            assert '"DVC_' not in path.read_text(), path


def test_stages_are_thin():
    for name in NAMES:
        assert len((ROOT / "stages" / f"{name}.py").read_text().splitlines()) <= 70


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
