"""Where the files of runs are kept. The embedded store's locations are relative to the database, so that a moved or
copied repository still shows its pictures."""

import os
import urllib.parse
from pathlib import Path
from typing import Any

from glassbox.config.yaml_file import PARAMS_FILE
from glassbox.core.errors import UserError, masked
from glassbox.tracking import address

FOLDER = "artifacts"  # beside a database
SCHEME = "mlruns"  # of artifact locations in the embedded store
SERVER_STORE = "_MLFLOW_SERVER_FILE_STORE"  # set by `mlflow server` for its workers


def artifact_repository(artifact_uri: str, tracking_uri: str | None = None, registry_uri: str | None = None) -> Any:
    """MLflow's plug-in for `mlruns:/...`: artifacts beside the database of the store at hand.

    A client of a server started by `make ui` reaches the same files through that server.
    """
    import mlflow
    from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository
    from mlflow.store.artifact.mlflow_artifacts_repo import MlflowArtifactsRepository
    from mlflow.utils.file_utils import path_to_local_file_uri

    path = urllib.parse.unquote(urllib.parse.urlsplit(artifact_uri).path).lstrip("/")
    candidates = (tracking_uri, os.environ.get(SERVER_STORE), mlflow.get_tracking_uri())
    store_uri = next(uri for uri in candidates if uri)
    if address.is_http(store_uri):
        return MlflowArtifactsRepository(f"mlflow-artifacts:/{path}", store_uri, registry_uri)
    database = address.database(store_uri)
    if database is None:
        raise UserError(f"{artifact_uri} lies beside a SQLite database, but the tracking URI is {masked(store_uri)}")
    folder = (database.parent / FOLDER).resolve()
    place = (folder / path).resolve()
    if not place.is_relative_to(folder):
        raise UserError(f"{artifact_uri} leads out of {folder}")
    return LocalArtifactRepository(path_to_local_file_uri(str(place)))


def location(experiment: str) -> str | None:
    """The artifact location of a new experiment; None = the server chooses. MLflow itself would take the folder in
    which a stage runs, which may be a temporary copy."""
    uri = address.tracking_uri()
    if address.is_embedded():
        return f"{SCHEME}:/{experiment}"
    if database := address.database(uri):
        return (database.parent / FOLDER / experiment).as_uri()
    return (address.store_folder() / FOLDER / experiment).as_uri() if address.is_database_server(uri) else None


def foreign_folder(artifact_location: str) -> Path | None:
    """The folder of an experiment's files if the stage must not write to it: it is in the `mlruns` of another clone, or
    of a folder that is gone."""
    parts = urllib.parse.urlsplit(artifact_location)
    if parts.scheme not in ("", "file"):
        return None
    place = Path(urllib.parse.unquote(parts.path) if parts.scheme else artifact_location).resolve()
    owner = next((folder.parent for folder in (place, *place.parents) if folder.name == address.STORE), None)
    if owner in (None, address.root().resolve()):
        return None
    database = address.database(address.tracking_uri())
    if database and place.is_relative_to(database.parent.resolve()):
        return None
    return place if (owner / PARAMS_FILE).exists() or not owner.is_dir() else None
