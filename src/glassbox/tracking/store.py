"""MLflow's store: check that it answers, open it, and put its errors into one sentence."""

import http.client
import logging
import os
import re
import socket
import sqlite3
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import filelock

from glassbox.core.errors import UserError, cut, masked
from glassbox.tracking import address, artifacts

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # one for each of a hundred files

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

ANSWER_SECONDS = 10  # time limit for a server's answer
LOCK = ".lock"


def check() -> None:
    """Check in milliseconds, without mlflow, that runs can be logged.

    Raises:
        UserError: the server does not answer, the database is one in memory, or mlruns/ cannot be written.
    """
    setting, uri = os.environ.get("MLFLOW_TRACKING_URI", ""), address.tracking_uri()
    if re.fullmatch(r"sqlite(\+pysqlite)?:/*(:memory:)?", setting):
        raise UserError(
            f"MLFLOW_TRACKING_URI = {setting} is a database in memory, which ends with each stage: name a file, as in "
            "sqlite:////srv/mlflow.db, or unset the variable to log to mlruns/"
        )
    if address.is_http(uri) or address.is_database_server(uri):
        _check_server(uri)
    elif not setting:
        folder = address.store_folder()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / LOCK).touch()
        except OSError as error:
            raise UserError(f"{folder} cannot be written ({error.strerror}): MLflow's runs are kept there") from None


def _check_server(uri: str) -> None:
    try:
        parts = urllib.parse.urlsplit(uri)
        # urllib would read a user name before @ as the host.
        without_user = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        if parts.scheme in ("http", "https"):
            urllib.request.urlopen(f"{without_user.rstrip('/')}/health", timeout=ANSWER_SECONDS).close()  # noqa: S310
        elif parts.hostname:  # a database; one without a host is reached through a file
            port = parts.port or address.PORTS[parts.scheme.partition("+")[0]]
            socket.create_connection((parts.hostname, port), timeout=ANSWER_SECONDS).close()
    except urllib.error.HTTPError:
        return  # it answers, though not at this path
    except (ValueError, http.client.InvalidURL) as error:
        raise UserError(
            f"MLFLOW_TRACKING_URI = {masked(uri)} is no address ({reason(error)}): it must be one like "
            "http://127.0.0.1:5000"
        ) from None
    except (OSError, http.client.HTTPException) as error:
        raise UserError(
            f"MLFLOW_TRACKING_URI = {masked(uri)} does not answer ({reason(getattr(error, 'reason', error))}): start "
            "that server, or unset the variable to log to mlruns/"
        ) from None


def connect() -> "MlflowClient":
    """A client of the store, which is created on first use.

    Raises:
        UserError: the store cannot be opened.
    """
    uri = address.tracking_uri()
    if address.is_embedded():
        initialise(address.store_folder())
    import mlflow
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    mlflow.set_tracking_uri(uri)
    try:
        _open_once(uri)
        client = mlflow.MlflowClient(uri)
        client.search_experiments(max_results=1)
    except (MlflowException, SQLAlchemyError, ImportError, OSError) as error:
        raise UserError(f"the MLflow store {masked(uri)} cannot be opened: {reason(error)}") from None
    return client


def _open_once(uri: str) -> None:
    """Open a database once, for its error: MLflow would try ten times, for two minutes."""
    import sqlalchemy

    file = address.database(uri)
    if file is None and not address.is_database_server(uri):
        return
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
    has_timeout = uri.startswith(("postgresql", "mysql"))
    options = {"connect_args": {"connect_timeout": ANSWER_SECONDS}} if has_timeout else {}
    engine = sqlalchemy.create_engine(uri, **options)
    try:
        sqlalchemy.inspect(engine).get_table_names()
    finally:
        engine.dispose()


def initialise(folder: Path) -> None:
    """Create the database under a lock: if several processes migrate a new one at the same time, all but one crash."""
    database = folder / address.DATABASE
    with filelock.FileLock(folder / LOCK):
        if database.exists():
            return
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        logging.getLogger("mlflow.store.db.utils").setLevel(logging.ERROR)  # it would list every table
        partial = folder / f".{address.DATABASE}.partial"
        partial.unlink(missing_ok=True)  # left by a process that was killed here
        SqlAlchemyStore(address.sqlite_uri(partial), f"{artifacts.SCHEME}:/").engine.dispose()
        with closing(sqlite3.connect(partial)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")  # one writes while others read
        partial.replace(database)


def merge_write_ahead_log() -> None:
    """Move SQLite's write-ahead log into the embedded database: a copy of that one file is then complete."""
    if address.is_embedded():
        with closing(sqlite3.connect(address.embedded_database())) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def lock() -> filelock.FileLock:
    """Held while a process looks for something in the store and creates it if it is missing."""
    folder = address.store_folder()
    folder.mkdir(exist_ok=True)
    return filelock.FileLock(folder / LOCK)


def experiment_ids(client: "MlflowClient") -> list[str]:
    """The ids of all experiments."""
    return [experiment.experiment_id for experiment in client.search_experiments()]


def with_little_patience() -> None:
    """For commands that a user waits for: give up after seconds if a server does not answer, not after minutes."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", f"{ANSWER_SECONDS}")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")


@contextmanager
def one_sentence(doing: str) -> Iterator[None]:
    """Turn errors of MLflow into a UserError of one sentence, which begins with `doing`."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        raise UserError(f"{doing} MLflow at {masked(address.tracking_uri())} failed: {reason(error)}") from None


def reason(error: object) -> str:
    """The message of an error, for a sentence: short, and without passwords."""
    error = getattr(error, "orig", None) or error  # the database's message, without SQLAlchemy's statement
    return cut(masked(" ".join(str(error).split())))
