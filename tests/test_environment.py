import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from glassbox import environment

ROOT = Path(__file__).resolve().parent.parent


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
    assert {"dev", "cluster"} <= extras.keys()
    for line in sum(extras.values(), project["dependencies"]):
        requirement = Requirement(line)
        name = re.sub(r"[._]", "-", requirement.name.lower())
        assert requirement.specifier.contains(pinned[name]), line
    assert (pinned["torch"], pinned["torchvision"]) == ("2.15.0", "0.29.2")


def test_this_environment_is_the_locked_one():
    for name in ("torch", "mlflow", "dvc", "optuna", "shap", "lime", "captum", "pandas", "scikit-learn", "numpy",
                 "ray", "psycopg", "dvc-ssh"):  # fmt: skip
        assert f"{name}=={version(name)}" in environment.wanted("linux")


def test_other_systems_get_no_cuda_packages():
    assert not [line for line in environment.wanted("darwin") if "nvidia" in line or "cuda" in line or "triton" in line]
    assert any("nvidia" in line for line in environment.wanted("linux"))


@pytest.fixture
def commands(monkeypatch):
    """Instead of running commands, keep them; a venv command makes the folder that it would make."""
    ran: list[list[str]] = []

    def call(command, **_):
        ran.append([str(part) for part in command])
        if "venv" in command:
            (Path(command[-1]) / "bin").mkdir(parents=True)
            (Path(command[-1]) / "bin" / "python").touch()
        return 0

    monkeypatch.setattr(environment.subprocess, "call", call)
    return ran


def test_an_environment_is_made_once_and_then_left_alone(tmp_path, commands, capsys):
    venv = tmp_path / "a venv"
    assert environment.install(venv)
    assert [command[2:3] for command in commands] == [["venv"], ["pip"], ["pip"]]
    assert "--editable" in commands[2]
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
    assert [command for command in commands if "--requirement" in command] == []
    assert "--editable" in commands[-1]
    assert not environment.install(tmp_path / "venv")


def test_an_interrupted_installation_is_taken_up_again(tmp_path, monkeypatch):
    failing = {"pip"}
    ran = []

    def call(command, **_):
        kind = next(part for part in ("venv", "pip", "import pip") if part in command)
        ran.append(kind)
        (tmp_path / "venv/bin").mkdir(parents=True, exist_ok=True)
        (tmp_path / "venv/bin/python").touch()
        return int(kind in failing)

    monkeypatch.setattr(environment.subprocess, "call", call)
    with pytest.raises(SystemExit) as stop:
        environment.install(tmp_path / "venv")
    assert stop.value.code == 2
    assert ran == ["venv", "pip"]
    assert not (tmp_path / "venv/glassbox-installed.txt").exists()

    failing.clear()
    ran.clear()
    assert environment.install(tmp_path / "venv")
    assert ran == ["import pip", "pip", "pip"]


def test_an_environment_that_was_left_without_pip_is_made_again(tmp_path):
    """As it stands after Ctrl-C in the middle, or on a Debian without python3-venv."""
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    ask = [venv / "bin/python", "-c", "import pip"]
    assert subprocess.run(ask, capture_output=True, check=False).returncode != 0
    calls = []

    def call(command, **options):
        calls.append(command)
        return 0 if "install" in command else subprocess.run(command, check=False, **options).returncode

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(environment.subprocess, "call", call)
        assert environment.install(venv)
    assert subprocess.run(ask, check=False).returncode == 0
    assert ["venv"] in [command[2:3] for command in calls]


def test_an_old_python_is_refused_in_a_sentence(monkeypatch, capsys):
    monkeypatch.setattr(environment.sys, "argv", ["environment.py", "venv"])
    monkeypatch.setattr(environment.sys, "version_info", (3, 10, 4))
    with pytest.raises(SystemExit) as stop:
        environment.main()
    assert stop.value.code == 2
    assert "is Python 3.10, but 3.11 or later is needed" in capsys.readouterr().err


def test_it_needs_nothing_but_the_standard_library():
    code = "import sys, runpy; sys.argv = ['x', '']; runpy.run_path('src/glassbox/environment.py', run_name='__main__')"
    result = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (2, "error: usage: python3 src/glassbox/environment.py VENV\n")
