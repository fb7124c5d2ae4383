"""The study to which faults are done."""

import fcntl
import os
import shutil
import time
from pathlib import Path

import pytest
from harness import WITHOUT_MLFLOW, digests, repro, small_study


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory) -> tuple[Path, dict[str, str], float]:
    """A study that was left in peace, the digests of its files, and how many seconds it took. It is made once for all
    of pytest-xdist's workers."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    project, took = shared / "in peace" / "study", shared / "in peace.txt"
    with (shared / "in peace.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not took.exists():
            shutil.rmtree(project, ignore_errors=True)  # one that failed
            small_study(project)
            start = time.monotonic()
            repro(project, **WITHOUT_MLFLOW)
            took.write_text(str(time.monotonic() - start))
    return project, digests(project), float(took.read_text())


@pytest.fixture
def study(undisturbed, tmp_path) -> Path:
    """A copy of it, to do harm to."""
    return Path(shutil.copytree(undisturbed[0], tmp_path / "a study", symlinks=True))
