"""A project with a fresh store."""

import os
import shutil
import sys

import pytest
from conftest import ROOT, shell
from recorders import Recorder, origin

from glassbox.tracking import address, client


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory):
    """A fresh database, made once by the code under test; the tests work on copies."""
    place = tmp_path_factory.mktemp("store") / address.STORE
    place.mkdir()
    code = f"from pathlib import Path; from glassbox.tracking import store; store.initialise(Path({str(place)!r}))"
    shell(sys.executable, "-c", code, cwd=ROOT, PYTHONPATH=str(ROOT / "src"))
    return place


@pytest.fixture(scope="session")
def recorders():
    with origin() as socket_path:
        yield lambda: Recorder(socket_path)


@pytest.fixture
def project(tmp_path, monkeypatch, empty_store, recorders):
    """A folder with parameters, in which stages could run; those of the test itself have recorders that begin at once,
    those in processes of their own have what every stage has."""
    monkeypatch.setattr(client, "start_recorder", recorders)
    for key in [key for key in os.environ if key.startswith(("DVC_", "MLFLOW_", "GLASSBOX_"))]:
        monkeypatch.delenv(key)
    place = tmp_path / "a project"
    place.mkdir()
    shutil.copy2(ROOT / "params.yaml", place)
    shutil.copytree(empty_store, place / address.STORE)
    monkeypatch.chdir(place)
    return place
