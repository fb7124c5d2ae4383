"""Start-up: `python -c "import torch"`; each stage that computes, to its first read (there is nothing to be read, which
ends it there). Without tracking, which imports MLflow beside the stage: `tracking` measures what that costs.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import harness
from benchmarks.common import copy_project
from benchmarks.harness import Bar

STAGES, PAIRS = ("tune", "train", "evaluate", "explain", "score"), 5
TORCH = "import torch"


def main() -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("DVC_", "MLFLOW_", "GLASSBOX_"))}
    environment["GLASSBOX_TRACKING"] = "off"

    def run(where: Path, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, *words], cwd=where, env=environment, capture_output=True, text=True)

    def start(stage: str, where: Path) -> None:
        told = run(where, "-m", f"stages.{stage}")
        assert told.returncode == 2, told.stderr
        assert "data/prepared/data.json is missing" in told.stderr, told.stderr

    with tempfile.TemporaryDirectory() as name:
        where = Path(name) / "project"
        copy_project(where)
        environment["PYTHONPATH"] = str(where / "src")
        contenders = {TORCH: harness.seconds(lambda: run(where, "-c", "import torch"))}
        contenders |= {stage: harness.seconds(lambda stage=stage: start(stage, where)) for stage in STAGES}
        bars = [Bar(stage, TORCH, at_most=1.6) for stage in STAGES]
        row = harness.compare("start-up", "s", contenders, bars, PAIRS)
    harness.record("startup", [row])
