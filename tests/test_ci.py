""".ci/run itself, with stand-ins for what it calls."""

import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT

PROGRAMS = {"chromium": "chromium", "pg_ctlcluster": "postgresql", "sshd": "openssh-server", "ip": "iproute2"}
TESTS = {
    "chromium": "look at pages", "postgresql": "work with PostgreSQL", "openssh-server": "push to another machine",
    "iproute2": "cut a machine off",
}  # fmt: skip


def run(folder: Path, there: list[str], apt: str) -> tuple[str, list[str]]:
    """What it says, and what it asks of apt-get, where these programs are there and apt-get ends with this code."""
    tools, script = folder / "tools", folder / "project/.ci/run"
    tools.mkdir()
    script.parent.mkdir(parents=True)
    script.write_text((ROOT / ".ci/run").read_text())
    stand_ins = {"make": "echo make $*; exit 3", "apt-get": f"echo $* >> asked; {apt}"} | dict.fromkeys(there, "exit 0")
    for name, code in stand_ins.items():
        (tools / name).write_text(f"#!/bin/sh\n{code}\n")
        (tools / name).chmod(0o755)
    for name in ("sh", "dirname", "mktemp", "tail", "rm"):
        (tools / name).symlink_to(shutil.which(name))
    done = subprocess.run([tools / "sh", script], env={"PATH": str(tools)}, capture_output=True, text=True)
    assert done.returncode == 3  # that of the tests
    assert done.stdout.endswith("make test\n")
    assert done.stderr == ""
    asked = script.parent.parent / "asked"
    return done.stdout, asked.read_text().splitlines() if asked.exists() else []


def skipped(said: str) -> list[str]:
    """Packages without which tests will be skipped, as it says in full."""
    return [name for name, does in TESTS.items()
            if f"{name} could not be installed: the tests that {does} will be skipped\n" in said]  # fmt: skip


@pytest.mark.parametrize("there", [[], ["chromium"], ["chromium", "ip", "sshd"]])
def test_ci_installs_what_is_missing(tmp_path, there):
    said, asked = run(tmp_path, there, "exit 0")
    missing = [package for program, package in PROGRAMS.items() if program not in there]
    assert asked == ["update", *(f"install -y --no-install-recommends {package}" for package in missing)]
    assert skipped(said) == []


def test_ci_installs_nothing_where_everything_is_there(tmp_path):
    said, asked = run(tmp_path, list(PROGRAMS), "exit 1")
    assert (said, asked) == ("make test\n", [])


def test_ci_installs_what_it_can_and_says_what_it_cannot(tmp_path):
    said, asked = run(tmp_path, [], 'case "$*" in *postgresql) echo no such package; exit 1;; esac')
    assert skipped(said) == ["postgresql"]
    assert "no such package" in said
    assert len(asked) == 5


def test_ci_installs_nothing_without_a_network_but_says_so(tmp_path):
    said, asked = run(tmp_path, [], "exit 1")
    assert skipped(said) == list(TESTS)
    assert asked == ["update"]  # once: it may take minutes to give up
