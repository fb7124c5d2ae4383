"""What MLflow costs a stage: the shipped study's own scripts with GLASSBOX_TRACKING=off (A) and with it on (B).

In a copy of the repository, after one pass that makes everything that the stages read. Each stage starts from the same
files every time; runs pile up in the store, as they do in use. Three stages take about 9 minutes on 2 cores; others
come from GLASSBOX_BENCH_STAGES, as in "prepare tune train evaluate explain score report" (half an hour).

Most of the cost is fixed: mlflow's own import, which takes a core beside the stage for about 2 seconds.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import harness

STAGES = ("prepare", "tune", "train", "evaluate", "explain", "score", "report")
CHOSEN = os.environ.get("GLASSBOX_BENCH_STAGES", "prepare train evaluate").split()


def copy_project(to: Path) -> None:
    for name in ("stages", "src", "data/raw"):
        shutil.copytree(name, to / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    shutil.copy2("studies/digits.yaml", to / "params.yaml")
    subprocess.run(["git", "init", "-q"], cwd=to, check=True)  # asked for its state at every stage


def seconds(stage: str, where: Path, tracking: str) -> float:
    """Wall time of one stage."""
    if stage == "tune":
        shutil.rmtree(where / "data/search", ignore_errors=True)  # or it would find its search done
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("DVC_", "MLFLOW_", "GLASSBOX_"))}
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", f"stages.{stage}"], cwd=where, check=True, capture_output=True,
        env=environment | {"GLASSBOX_TRACKING": tracking},
    )  # fmt: skip
    return time.perf_counter() - start


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        where = Path(folder)
        copy_project(where)
        for stage in STAGES:
            print(f"tracking: {stage} once, {seconds(stage, where, 'on'):.1f} s", flush=True)
        rows = []
        for stage in CHOSEN:
            off, on = (lambda how=how, stage=stage: seconds(stage, where, how) for how in ("off", "on"))
            rows.append(harness.compare(f"stage {stage}", ("off", off), ("on", on), "s"))
    off, on = (sum(row["medians"][how] for row in rows) for how in ("off", "on"))
    print(f"{' + '.join(CHOSEN)}: off {off:.1f} s, on {on:.1f} s; ratio {on / off:.3f}")
    harness.record("tracking", rows)
