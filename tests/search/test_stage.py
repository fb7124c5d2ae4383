"""The stage *tune*, as DVC runs it in the folder and in temporary copies of it."""

import shutil
from pathlib import Path

import pytest
from conftest import ROOT, SHRINK

from glassbox.config import parameters
from glassbox.core import files

SMALL = [*SHRINK, "tune.n_trials=2", "tune.epochs=1", "data.limit=200"]


def journals(folder: Path) -> dict[str, list[str]]:
    """The records of each search, without those that Optuna writes when it opens the file."""
    files = (folder / "data/search").glob("*.journal")
    return {file.name: [line for line in file.open() if not line.startswith('{"op_code":0')] for file in files}


@pytest.fixture
def searched(tmp_path, run_stages) -> Path:
    """A folder in which the search was done."""
    folder = tmp_path / "repository"
    folder.mkdir()
    (folder / "params.yaml").write_text(parameters.edit(ROOT / "params.yaml", SMALL))
    assert "best of 2 trials" in run_stages(folder, "prepare", "tune")
    return folder


def copy_of(folder: Path, name: str, *changes: str) -> Path:
    """A copy as `dvc exp run --temp` makes it: without what neither git nor DVC has."""
    place = Path(
        shutil.copytree(folder, folder / ".dvc/tmp/exps" / name, ignore=shutil.ignore_patterns(".dvc", "search"))
    )
    (place / "params.yaml").write_text(parameters.edit(folder / "params.yaml", changes))
    return place


def test_an_experiment_in_a_temporary_copy_takes_the_search_of_the_repository(searched, run_stages, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(searched))
    before, best = journals(searched), files.read_json(searched / "reports/tune/best.json")
    assert len(before) == 1
    given = ["train.optimizer=adam", "train.learning_rate=0.01", "train.patience=3", "tune.workers=1"]
    same = copy_of(searched, "same", *given)
    run_stages(same, "tune")
    assert journals(searched) == before, "nothing was trained"
    assert not (same / "data/search").exists()
    assert files.read_json(same / "reports/tune/best.json") == best
    other = copy_of(searched, "other", "tune.space.train.optimizer=[adam]")
    run_stages(other, "tune")
    assert before.items() < journals(searched).items(), "another search is kept there as well"
    assert len(journals(searched)) == 2
    assert not (other / "data/search").exists()


def test_without_dvc_the_search_is_kept_where_the_stage_runs(searched):
    assert len(journals(searched)) == 1
    table = (searched / "reports/tune/trials.csv").read_text().splitlines()
    assert table[0].startswith("trial,state,validation_accuracy,epochs,conv1_filters,")
    assert len(table) == 3
