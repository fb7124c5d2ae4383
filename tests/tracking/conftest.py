"""A project with a fresh store."""

import os
import shutil

import pytest
from conftest import ROOT
from recorders import start_recorder
from tracked_stages import ODD

from glassbox.provenance import fingerprint
from glassbox.tracking import address, client, store


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory):
    """A fresh database, in an odd folder; the tests work on copies."""
    place = tmp_path_factory.mktemp("store") / ODD / address.STORE
    place.mkdir(parents=True)
    store.initialise(place)
    fingerprint.digest(*fingerprint.SCRIPTS)  # recorders are forks, and need not compute it again
    return place


@pytest.fixture
def project(tmp_path, monkeypatch, empty_store):
    """A folder with parameters, in which stages could run, with recorders that start at once."""
    monkeypatch.setattr(client, "start_recorder", start_recorder)
    for key in [key for key in os.environ if key.startswith(("DVC_", "MLFLOW_", "GLASSBOX_"))]:
        monkeypatch.delenv(key)
    monkeypatch.setenv("MLFLOW_SQLALCHEMYSTORE_POOLCLASS", "NullPool")  # no connection is open at a fork
    place = tmp_path / "a project"
    place.mkdir()
    shutil.copy2(ROOT / "params.yaml", place)
    shutil.copytree(empty_store, place / address.STORE)
    monkeypatch.chdir(place)
    return place
