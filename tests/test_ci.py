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
    """The output of the script and its calls of apt-get, given the programs that exist and the code of apt-get."""
    tools, script = folder / "tools", folder / "project/.ci/run"
    tools.mkdir()
    script.parent.mkdir(parents=True)
    script.write_text((ROOT / ".ci/run").read_text())
    stand_ins = {"make": "echo make $*; exit 3", "apt-get": f"echo $* >> calls; {apt}"} | dict.fromkeys(there, "exit 0")
    for name, code in stand_ins.items():
        (tools / name).write_text(f"#!/bin/sh\n{code}\n")
        (tools / name).chmod(0o755)
    for name in ("sh", "dirname", "mktemp", "tail", "rm"):
        (tools / name).symlink_to(shutil.which(name))
    done = subprocess.run([tools / "sh", script], env={"PATH": str(tools)}, capture_output=True, text=True)
    assert done.returncode == 3  # that of the tests
    assert done.stdout.endswith("make test\n")
    assert done.stderr == ""
    calls = script.parent.parent / "calls"
    return done.stdout, calls.read_text().splitlines() if calls.exists() else []


def skipped(output: str) -> list[str]:
    """Packages that were reported as missing."""
    return [name for name, does in TESTS.items()
            if f"{name} could not be installed: the tests that {does} will be skipped\n" in output]  # fmt: skip


@pytest.mark.parametrize("there", [[], ["chromium"], ["chromium", "ip", "sshd"], list(PROGRAMS)])
def test_ci_installs_what_is_missing(tmp_path, there):
    output, calls = run(tmp_path, there, "exit 0")
    missing = [package for program, package in PROGRAMS.items() if program not in there]
    install = [f"install -y --no-install-recommends {package}" for package in missing]
    assert calls == (["update", *install] if missing else [])
    assert skipped(output) == []


def test_ci_installs_what_it_can_and_reports_what_it_cannot(tmp_path):
    output, calls = run(tmp_path, [], 'case "$*" in *postgresql) echo no such package; exit 1;; esac')
    assert skipped(output) == ["postgresql"]
    assert "no such package" in output
    assert len(calls) == 5


def test_ci_without_a_network_installs_nothing_and_reports_it(tmp_path):
    output, calls = run(tmp_path, [], "exit 1")
    assert skipped(output) == list(TESTS)
    assert calls == ["update"], "once: it may take minutes to fail"
