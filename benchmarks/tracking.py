"""What MLflow costs a stage: `train` of the shipped study with GLASSBOX_TRACKING=off and on.

In a copy of the repository, after one pass that makes everything that the stage reads. It starts from the same files
every time; runs pile up in the store, as they do in use. Other stages come from GLASSBOX_BENCH_STAGES, as in
"prepare tune train evaluate explain score report" (half an hour).

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
from benchmarks.common import copy_project
from benchmarks.harness import Bar

STAGES = ("prepare", "tune", "train", "evaluate", "explain", "score", "audit", "repair", "report")
CHOSEN = os.environ.get("GLASSBOX_BENCH_STAGES", "train").split()


def seconds(stage: str, where: Path, tracking: str) -> float:
    """Wall time of one stage."""
    if stage == "tune":
        shutil.rmtree(where / "data/search", ignore_errors=True)  # or it would find its search done
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("DVC_", "MLFLOW_", "GLASSBOX_"))}
    environment |= {"GLASSBOX_TRACKING": tracking, "PYTHONPATH": str(where / "src")}
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", f"stages.{stage}"], cwd=where, check=True, capture_output=True, env=environment
    )
    return time.perf_counter() - start


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        where = Path(name) / "project"
        copy_project(where)
        for stage in STAGES[: max(STAGES.index(stage) for stage in CHOSEN)]:
            print(f"tracking: {stage} once, {seconds(stage, where, 'on'):.1f} s", flush=True)
        rows = []
        for stage in CHOSEN:
            contenders = {how: lambda how=how, stage=stage: seconds(stage, where, how) for how in ("off", "on")}
            rows.append(
                harness.compare(f"stage {stage}", "s", contenders, [Bar("on", "off", at_most=1.05)], warm_up=False)
            )
    harness.record("tracking", rows)
