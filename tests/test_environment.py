import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from conftest import ROOT
from packaging.requirements import Requirement

from glassbox import environment


@pytest.fixture(autouse=True)
def at_root(monkeypatch):
    monkeypatch.chdir(ROOT)


def test_the_lock_is_plain_lines_and_pins_every_dependency():
    lines = environment.wanted("linux")
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line) for line in lines)
    pinned = {re.sub(r"[._]", "-", name.lower()): pin for name, pin in (line.split("==") for line in lines)}
    assert len(pinned) == len(lines)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    del extras["docs"]  # `make docs` has an environment of its own
    assert {"dev", "cluster", "onnx"} <= extras.keys()
    for line in sum(extras.values(), project["dependencies"]):
        requirement = Requirement(line)
        name = re.sub(r"[._]", "-", requirement.name.lower())
        assert requirement.specifier.contains(pinned[name]), line
    assert (pinned["torch"], pinned["torchvision"]) == ("2.15.0", "0.29.2")


def test_this_environment_is_the_locked_one():
    names = "torch timm mlflow dvc optuna shap lime captum pandas scikit-learn numpy ray psycopg dvc-ssh onnxruntime"
    assert {f"{name}=={version(name)}" for name in names.split()} <= set(environment.wanted("linux"))


def test_other_systems_get_no_cuda_packages():
    assert not [line for line in environment.wanted("darwin") if "nvidia" in line or "cuda" in line or "triton" in line]
    assert any("nvidia" in line for line in environment.wanted("linux"))


class Commands(list):
    """Takes the place of `subprocess.call`: keeps the commands, by kind, and creates Python where `venv` would. Those
    of the kinds in `failing` fail."""

    def __init__(self) -> None:
        super().__init__()
        self.failing = set()

    def __call__(self, command, **_) -> int:
        kinds = ("venv", "import pip", "--requirement", "--editable")
        kind = next(kind for kind in kinds if kind in command)
        self.append(kind)
        if kind == "venv":
            python = Path(command[-1]) / "bin/python"
            python.parent.mkdir(parents=True, exist_ok=True)
            python.touch()
        return int(kind in self.failing)


@pytest.fixture
def commands(monkeypatch):
    commands = Commands()
    monkeypatch.setattr(environment.subprocess, "call", commands)
    return commands


def test_an_environment_is_made_once_and_then_left_alone(tmp_path, commands, capsys):
    venv = tmp_path / "a venv"
    assert environment.install(venv)
    assert commands == ["venv", "--requirement", "--editable"]
    assert "installing" in capsys.readouterr().out
    commands.clear()
    assert not environment.install(venv)
    assert commands == []


def test_another_clone_installs_nothing_while_the_first_is_there(tmp_path, commands, monkeypatch):
    first, second = tmp_path / "first clone", tmp_path / "second clone"
    for clone in (first, second):
        (clone / "src/glassbox").mkdir(parents=True)
        for name in ("requirements.lock", "pyproject.toml"):
            (clone / name).write_bytes((ROOT / name).read_bytes())
    monkeypatch.chdir(first)
    environment.install(tmp_path / "venv")
    commands.clear()
    monkeypatch.chdir(second)
    assert not environment.install(tmp_path / "venv")
    assert commands == []

    (first / "src/glassbox").rmdir()
    assert environment.install(tmp_path / "venv")
    assert commands == ["import pip", "--editable"]
    assert not environment.install(tmp_path / "venv")


@pytest.mark.parametrize("pip", ["with pip", "without pip"])
def test_an_interrupted_installation_is_resumed(tmp_path, commands, pip):
    """After Ctrl-C, or on a Debian without python3-venv, there may be no pip: then the environment is made again."""
    commands.failing.add("--requirement")
    with pytest.raises(SystemExit) as stop:
        environment.install(tmp_path / "venv")
    assert stop.value.code == 2
    assert commands == ["venv", "--requirement"]
    assert not (tmp_path / "venv/glassbox-installed.txt").exists()

    commands.clear()
    commands.failing = {"import pip"} if pip == "without pip" else set()
    assert environment.install(tmp_path / "venv")
    assert commands == ["import pip", *(["venv"] if pip == "without pip" else []), "--requirement", "--editable"]


def test_an_old_python_is_refused_in_a_sentence(monkeypatch, capsys):
    monkeypatch.setattr(environment.sys, "argv", ["environment.py", "venv"])
    monkeypatch.setattr(environment.sys, "version_info", (3, 10, 4))
    with pytest.raises(SystemExit) as stop:
        environment.main()
    assert stop.value.code == 2
    assert "is Python 3.10, but 3.11 or later is needed" in capsys.readouterr().err


def test_it_needs_only_the_standard_library():
    code = "import sys, runpy; sys.argv = ['x', '']; runpy.run_path('src/glassbox/environment.py', run_name='__main__')"
    result = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (2, "error: usage: python3 src/glassbox/environment.py VENV\n")
