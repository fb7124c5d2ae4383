"""Which process writes a run, and whether it is still alive. Runs of a killed process would be shown as running for
ever: the next process marks them as killed."""

import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import filelock

from glassbox.core import files
from glassbox.core.errors import masked
from glassbox.tracking import address, store

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

LOCKS = ".running"  # folder of the owners' locks
OWNER = "recorder"  # tag of runs and logged models: the name of their owner


class Owner:
    """A process that writes runs: a name, and a lock file that it holds as long as it lives. The operating system
    releases the lock when the process ends. The file's name also has a digest of the store's address."""

    def __init__(self) -> None:
        self._path: Path | None = None
        while self._path is None or not self._path.exists():  # `mark_killed` may have come between file and lock
            self.name = uuid.uuid4().hex
            self._path = lock_path(self.name)
            self._lock = filelock.FileLock(self._path)
            self._lock.acquire()

    def release(self) -> None:
        """Called when all of its runs have ended."""
        self._path.unlink(missing_ok=True)
        self._lock.release()


def lock_path(name: str) -> Path:
    """The lock file of an owner; with * as name, a pattern for all owners of runs in this store."""
    folder = address.store_folder() / LOCKS
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{name}-{files.digest(masked(address.tracking_uri()))[:16]}"


def mark_killed(client: "MlflowClient") -> None:
    """End the runs and models of owners that were killed."""
    pattern = lock_path("*")
    for path in sorted(pattern.parent.glob(pattern.name)):
        lock = filelock.FileLock(path)
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:  # alive
            continue
        if path.exists():  # else another process has just done it
            end_all(client, path.name.partition("-")[0])
            path.unlink()
        lock.release()


def end_all(client: "MlflowClient", owner: str) -> None:
    """Mark an owner's models that are not complete as failed, and end its runs."""
    for model in client.search_logged_models(store.experiment_ids(client), filter_string=f"tags.{OWNER} = '{owner}'"):
        if model.status == "PENDING":  # its files were being copied
            client.finalize_logged_model(model.model_id, "FAILED")
    end_running(client, owner)


def end_running(client: "MlflowClient", owner: str) -> None:
    """Mark an owner's runs that have no end as killed."""
    condition = f"tags.{OWNER} = '{owner}' and attributes.status = 'RUNNING'"
    for run in client.search_runs(store.experiment_ids(client), condition):
        client.set_terminated(run.info.run_id, "KILLED")
