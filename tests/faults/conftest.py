"""The study to which faults are done."""

import shutil
import time
from pathlib import Path

import pytest
from conftest import made_once
from harness import WITHOUT_MLFLOW, digests, repro, small_study


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory) -> tuple[Path, dict[str, str], float]:
    """A study that was left in peace, the digests of its files, and how many seconds it took."""

    def study(place: Path) -> str:
        small_study(place)
        start = time.monotonic()
        repro(place, **WITHOUT_MLFLOW)
        return str(time.monotonic() - start)

    project, seconds = made_once(tmp_path_factory, "in peace/study", study)
    return project, digests(project), float(seconds)


@pytest.fixture
def study(undisturbed, tmp_path) -> Path:
    """A copy of it, to do harm to."""
    return Path(shutil.copytree(undisturbed[0], tmp_path / "a study", symlinks=True))
