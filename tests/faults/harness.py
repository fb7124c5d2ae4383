"""A small study to do harm to, and what must hold of it afterwards."""

import hashlib
import itertools
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import psutil
from conftest import NAMES, SHRINK, clone, environment, shell
from ruamel.yaml import YAML

from glassbox.config import parameters

MINUTES = 10  # after which whatever hangs is an error
WITHOUT_MLFLOW = {"GLASSBOX_TRACKING": "off"}


def small_study(place: Path) -> Path:
    """A clone of the project as it is now, with the shrunken study still to be made."""
    project = clone(place)
    text = parameters.edit(project / "params.yaml", SHRINK)
    (project / "params.yaml").write_text(text)
    return project


def repro(project: Path, check: bool = True, **changes: str) -> subprocess.CompletedProcess:
    return shell("dvc", "repro", cwd=project, check=check, **changes)


def digests(project: Path) -> dict[str, str]:
    """SHA-256 of all that the same parameters must make again: metrics, tables, maps, weights, data."""
    paths = [path for folder in ("reports", "models", "data/prepared") for path in (project / folder).rglob("*")]
    kept = (".json", ".csv", ".npz", ".safetensors")
    return {
        path.relative_to(project).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(paths)
        if path.suffix in kept
    }


def differing(one: dict[str, str], other: dict[str, str]) -> list[str]:
    """Names of files that are not the same in both."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def stage(project: Path, name: str, **changes: str) -> subprocess.CompletedProcess:
    """A stage by itself."""
    return shell(sys.executable, "-m", f"stages.{name}", cwd=project, check=False, **(WITHOUT_MLFLOW | changes))


def forget(project: Path, *names: str) -> None:
    """Make DVC run these stages again, as if it had never run them: no cache of theirs, and nothing in dvc.lock."""
    yaml = YAML()
    lock = yaml.load((project / "dvc.lock").read_text())
    for name in names:
        for out in lock["stages"].pop(name)["outs"]:
            place = project / out["path"]
            shutil.rmtree(place) if place.is_dir() else place.unlink()
    with (project / "dvc.lock").open("w") as file:
        yaml.dump(lock, file)
    shutil.rmtree(project / ".dvc/cache/runs")


def one_sentence(result: subprocess.CompletedProcess, part: str) -> None:
    """A refusal: exit code 2, and one line that says it."""
    assert result.returncode == 2, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert part in line, line


class Repro:
    """`dvc repro` at work, of the whole study or of some stages and what they need."""

    def __init__(self, project: Path, *stages: str, **changes: str) -> None:
        self.project, self.log = project, project / "dvc_plots" / "repro.log"  # a folder that git ignores
        self.log.parent.mkdir(exist_ok=True)
        with self.log.open("w") as log:
            self.dvc = psutil.Popen(
                ["dvc", "repro", *stages], cwd=project, env=environment(**changes), stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip

    def all(self) -> list[psutil.Process]:
        """dvc and everything under it, the newest last."""
        try:
            return [self.dvc, *self.dvc.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def stage(self) -> psutil.Process | None:
        """The stage at work."""
        for process in self.all():
            try:
                if "-m stages." in " ".join(process.cmdline()) and "sh" not in process.name():
                    return process
            except psutil.NoSuchProcess:
                continue
        return None

    def kill(self, what: str) -> str:
        """kill -9 of the "stage", of "dvc" alone, or of "all": the stages it hit, or "" between two."""
        everything, stage = self.all(), self.stage()
        name = stage.cmdline()[-1].rpartition(".")[2] if stage else ""
        victims = {"stage": [stage or self.dvc], "dvc": [self.dvc], "all": everything}[what]
        for process in victims:
            try:
                process.send_signal(signal.SIGKILL)
            except psutil.NoSuchProcess:
                continue
        self.dvc.wait(timeout=60 * MINUTES)
        return name

    def text(self) -> str:
        return self.log.read_text()


def finish(project: Path) -> str:
    """`dvc repro` until it succeeds. A stage that a killed dvc left behind must be named, and a file that DVC was
    writing when it was killed must be put away by the first step of `make study`."""
    begun, said = time.monotonic(), ""
    while True:
        result = repro(project, check=False)
        said += result.stdout + result.stderr
        if result.returncode == 0:
            return said
        if re.search(r"dvc\.lock' (is invalid|validation failed)|structure is corrupted", result.stderr):
            mended = shell("python", "-m", "glassbox", "check", cwd=project, PYTHONPATH="src")
            assert " was cut off when DVC was stopped" in mended.stdout, result.stderr
            continue
        waits = re.search(r"process \d+ is .* in this folder already: wait for it, or stop it first", result.stderr)
        assert waits, result.stdout + result.stderr
        assert time.monotonic() - begun < 60 * MINUTES
        time.sleep(1)


def runs(project: Path) -> list[dict[str, str]]:
    """Every run in the store: name, status and tags."""
    with sqlite3.connect(project / "mlruns/mlflow.db") as store:
        found = {}
        for run, name, status in store.execute("select run_uuid, name, status from runs order by start_time"):
            found[run] = {"id": run, "name": name, "status": status}
        for run, key, value in store.execute("select run_uuid, key, value from tags"):
            found[run][key] = value
    return list(found.values())


def check_whole(project: Path, expected: dict[str, str]) -> None:
    """What must hold in the end, whatever happened on the way: the files of a study that was left in peace, nothing
    half-written beside them, no run that has no end, and nothing left to do."""
    assert differing(digests(project), expected) == []
    leftovers = [p for p in project.rglob(".*.partial*") if ".dvc" not in p.parts]
    assert leftovers == []
    found = runs(project)
    assert [run for run in found if run["status"] not in ("FINISHED", "KILLED", "FAILED")] == []
    (study,) = (run for run in found if run.get("kind") == "study")
    assert study["status"] == "FINISHED"
    for name in NAMES:
        of_stage = [run for run in found if run.get("kind") == "stage" and run["name"] == name]
        assert of_stage[-1]["status"] == "FINISHED"
        for before, after in itertools.pairwise(of_stage):
            if before["status"] != "FINISHED":
                assert after.get("continues") == before["id"], f"{name}: which run goes on is not said"
    assert "up to date" in shell("dvc", "status", cwd=project).stdout


def seed() -> int:
    """Of the moments at which something is killed; GLASSBOX_FAULT_SEED repeats a run."""
    return int(os.environ.get("GLASSBOX_FAULT_SEED", time.time_ns() % 10**6))
