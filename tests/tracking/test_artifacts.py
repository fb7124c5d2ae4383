"""Where the files of runs lie."""

import shutil

import pytest
from tracked_stages import clone_of, log_picture, pictures, store_uri

from glassbox.core.errors import UserError
from glassbox.tracking import address, artifacts


@pytest.mark.parametrize("given", ["absolute", "relative"])
def test_files_lie_beside_a_database_of_ones_own_from_a_temporary_copy_and_from_two_clones(
    project, tmp_path, monkeypatch, given
):
    shared = project if given == "relative" else tmp_path / "shared"
    shared.mkdir(exist_ok=True)
    shutil.copy2(project / address.STORE / address.DATABASE, shared / "own.db")
    monkeypatch.setenv(
        "MLFLOW_TRACKING_URI", "sqlite:///own.db" if given == "relative" else f"sqlite:///{shared}/own.db"
    )
    monkeypatch.setenv("DVC_ROOT", str(project))
    monkeypatch.chdir(clone_of(project, tmp_path / "temporary"))
    log_picture()
    if given == "absolute":
        another = clone_of(project, tmp_path / "another clone")
        monkeypatch.setenv("DVC_ROOT", str(another))
        monkeypatch.chdir(another)
        log_picture()
        shutil.rmtree(another)
    monkeypatch.chdir(project)
    shutil.rmtree(tmp_path / "temporary")
    assert pictures(f"sqlite:///{shared}/own.db") == [b"red and blue"] * (1 if given == "relative" else 2)
    assert len([*(shared / "artifacts/digits").rglob("picture.txt")]) == (1 if given == "relative" else 2)


@pytest.mark.parametrize(
    ("place", "refused"),
    [("a clone/mlruns/1", True), ("gone/mlruns/1", True), ("a project/mlruns/1", False), ("lab/mlruns/1", False)],
)
def test_an_experiment_whose_files_lie_in_another_clone_or_nowhere_is_refused(
    project, tmp_path, monkeypatch, place, refused
):
    """As MLflow places those that it makes by itself. A folder that is no clone may be meant for everybody."""
    clone_of(project, tmp_path / "a clone")
    (tmp_path / "lab").mkdir()
    (tmp_path / "databases").mkdir()
    shutil.copy2(project / address.STORE / address.DATABASE, tmp_path / "databases/own.db")
    where = f"sqlite:///{tmp_path}/databases/own.db"
    import mlflow

    mlflow.MlflowClient(where).create_experiment("digits", artifact_location=(tmp_path / place).as_uri())
    monkeypatch.setenv("MLFLOW_TRACKING_URI", where)
    (project / "out").mkdir()
    (project / "out" / "picture.txt").write_text("red and blue")
    if refused:
        sentence = rf"study.name = 'digits': MLflow keeps the files of this experiment in {tmp_path / place}, which is"
        with pytest.raises(UserError, match=sentence):
            log_picture()
        assert not (tmp_path / place).exists()
    else:
        log_picture()
        assert pictures(where) == [b"red and blue"]


def test_any_name_of_a_folder_will_do(project, tmp_path, monkeypatch):
    """Some have a meaning in addresses."""
    odd = clone_of(project, tmp_path / "odd" / "a?b" / "pct%41 b" / "x#y&z=1;@:")
    monkeypatch.chdir(odd)
    log_picture()
    assert pictures(address.tracking_uri()) == [b"red and blue"]
    assert (odd / address.STORE / address.DATABASE).is_file()
    assert [path.name for path in (tmp_path / "odd").iterdir()] == ["a?b"], "nothing is made beside it"


def test_an_artifact_uri_cannot_lead_out_of_the_store(project):
    store = store_uri(project)
    inside = artifacts.artifact_repository("mlruns:/digits/run/artifacts", store)
    assert inside.artifact_dir == str(project / address.STORE / "artifacts" / "digits" / "run" / "artifacts")
    with pytest.raises(UserError, match="leads out of"):
        artifacts.artifact_repository("mlruns:/../../etc", store)
    with pytest.raises(UserError, match="lies beside a SQLite database"):
        artifacts.artifact_repository("mlruns:/digits", "postgresql://me:secret@db/x")
