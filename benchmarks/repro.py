"""`dvc repro` with nothing to do: of a pipeline of five stages that do nothing, one after the other; of the study, with
stand-ins for everything that its stages write (what DVC does when nothing has changed does not depend on the contents).
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

from benchmarks import harness
from benchmarks.common import copy_project
from benchmarks.harness import Bar

STAGES, PAIRS = 5, 11
EMPTY, OURS = "empty pipeline", "study"


def dvc(where: Path, *words: str) -> str:
    done = subprocess.run([sys.executable, "-m", "dvc", *words], cwd=where, capture_output=True, text=True, check=True)
    return done.stdout


def make_empty(where: Path) -> None:
    """Each stage copies a line from the one before."""
    where.mkdir()
    (where / "0").write_text("nothing\n", encoding="utf-8")
    stages = {f"s{n}": {"cmd": f"cp {n} {n + 1}", "deps": [f"{n}"], "outs": [f"{n + 1}"]} for n in range(STAGES)}
    (where / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}), encoding="utf-8")
    (where / ".dvcignore").write_text("", encoding="utf-8")
    subprocess.run(["git", "init", "-q"], cwd=where, check=True)
    dvc(where, "init", "-q")
    dvc(where, "config", "core.analytics", "false")
    dvc(where, "repro", "-q")


def make_finished(where: Path) -> None:
    """The shipped study as it lies there when it is done."""
    copy_project(where)
    stages = yaml.safe_load((where / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    paths = [next(iter(out)) if isinstance(out, dict) else out for stage in stages.values() for out in stage["outs"]]
    read = {dep for stage in stages.values() for dep in stage["deps"]}
    inside = {dep for dep in read if any(dep.startswith(f"{path}/") for path in paths)}
    for path in [*paths, *inside]:
        target = where / path
        if path not in inside and (Path(path).suffix == "" or any(dep.startswith(f"{path}/") for dep in inside)):
            target /= "stand-in"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(path, encoding="utf-8")
    dvc(where, "commit", "-f", "-q")


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_empty(folder / "empty")
        make_finished(folder / "study")
        for which in ("empty", "study"):
            assert "Data and pipelines are up to date" in dvc(folder / which, "repro"), which
        row = harness.compare(
            "dvc repro, nothing to do", "s",
            {EMPTY: harness.seconds(lambda: dvc(folder / "empty", "repro")),
             OURS: harness.seconds(lambda: dvc(folder / "study", "repro"))},
            [Bar(OURS, EMPTY, at_most=1.5)], PAIRS,
        )  # fmt: skip
    harness.record("repro", [row])
