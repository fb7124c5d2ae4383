"""Where the files of runs lie."""

import shutil

import pytest
from tracked_stages import ODD, begin, clone_of, pictures, store_uri

from glassbox.core.errors import UserError
from glassbox.tracking import address, artifacts


def test_files_lie_beside_the_database_also_from_a_temporary_copy_and_from_another_clone(
    project, tmp_path, monkeypatch
):
    shutil.copy2(project / address.STORE / address.DATABASE, project / "own.db")
    places = {
        "": (project, "temporary"),
        "sqlite:///own.db": (project, "another temporary"),
        f"sqlite:///{project}/own.db": (tmp_path / "clone", "clone"),
    }
    for uri, (repository, name) in places.items():
        folder = clone_of(project, tmp_path / name)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        monkeypatch.setenv("DVC_ROOT", str(repository))
        monkeypatch.chdir(folder)
        begin("explain", folder="out")
        assert [path.name for path in folder.rglob("*.db")] == []
        shutil.rmtree(folder)
    monkeypatch.chdir(project)
    for uri, beside, n in (
        (store_uri(project), project / address.STORE, 1),
        (f"sqlite:///{project}/own.db", project, 2),
    ):
        assert pictures(uri) == n * [b"red and blue"]
        assert len([*(beside / "artifacts/digits").rglob("picture.txt")]) == n


def test_an_experiment_whose_files_lie_in_another_clone_or_nowhere_is_refused(project, tmp_path):
    """As MLflow places those that it makes by itself. A folder that is no clone may be meant for everybody."""
    import mlflow

    place = clone_of(project, tmp_path / "a clone") / "mlruns/1"
    (tmp_path / "lab").mkdir()
    for name, is_foreign in {"a clone": True, "gone": True, "a project": False, "lab": False}.items():
        folder = tmp_path / name / "mlruns/1"
        assert artifacts.foreign_folder(folder.as_uri()) == (folder if is_foreign else None)
    mlflow.MlflowClient(store_uri(project)).create_experiment("digits", artifact_location=place.as_uri())
    sentence = rf"study.name = 'digits': MLflow keeps the files of this experiment in {place}, which is a folder of"
    with pytest.raises(UserError, match=sentence):
        begin("prepare")
    assert not place.exists()


def test_a_folder_may_have_any_name(project, tmp_path, monkeypatch, empty_store):
    """The empty store was created in such a folder as well."""
    odd = clone_of(project, tmp_path / "odd" / ODD)
    shutil.copytree(empty_store, odd / address.STORE)
    monkeypatch.chdir(odd)
    begin("explain", folder="out")
    assert pictures(address.tracking_uri()) == [b"red and blue"]
    for place, folder in ((tmp_path / "odd", odd), (empty_store.parents[3], empty_store.parent)):
        assert (folder / address.STORE / address.DATABASE).is_file()
        assert [path.name for path in place.iterdir()] == ["a?b"], "nothing is created beside it"


def test_an_artifact_uri_cannot_lead_out_of_the_store(project):
    store = store_uri(project)
    inside = artifacts.artifact_repository("mlruns:/digits/run/artifacts", store)
    assert inside.artifact_dir == str(project / address.STORE / "artifacts" / "digits" / "run" / "artifacts")
    with pytest.raises(UserError, match="leads out of"):
        artifacts.artifact_repository("mlruns:/../../etc", store)
    with pytest.raises(UserError, match="lies beside a SQLite database"):
        artifacts.artifact_repository("mlruns:/digits", "postgresql://me:secret@db/x")
