"""The study to which faults are done."""

import shutil
from pathlib import Path

import pytest
from harness import digests


@pytest.fixture(scope="session")
def undisturbed(first_study, tmp_path_factory) -> tuple[Path, dict[str, str], float]:
    """A study that was left in peace, without its runs in MLflow; the digests of its files, and how many seconds it
    took."""
    first, _ = first_study
    project = tmp_path_factory.mktemp("in peace") / "study"
    shutil.copytree(first, project, symlinks=True, ignore=_runs)
    seconds = [(first / file).stat().st_mtime for file in ("data/prepared/data.json", "reports/summary.json")]
    return project, digests(project), seconds[1] - seconds[0]


def _runs(folder: str, names: list[str]) -> set[str]:
    return set(names) - {"README.md"} if Path(folder).name == "mlruns" else set()


@pytest.fixture
def study(undisturbed, tmp_path) -> Path:
    """A copy of it, to do harm to."""
    return Path(shutil.copytree(undisturbed[0], tmp_path / "a study", symlinks=True))
