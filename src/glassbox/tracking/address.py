"""The address of MLflow's store: a database in the repository, or what MLFLOW_TRACKING_URI names. Imports no mlflow."""

import os
import urllib.parse
from pathlib import Path

STORE = "mlruns"  # folder of the embedded store
DATABASE = "mlflow.db"
PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}  # default ports of the databases that MLflow takes


def root() -> Path:
    """The repository that owns the runs. In `dvc exp run --temp` and in the queue a stage works in a temporary copy,
    while DVC_ROOT is still the original."""
    return Path(os.environ.get("DVC_ROOT", "")).absolute()


def store_folder() -> Path:
    """The folder of the embedded store. Its locks are used when the runs go to a server as well."""
    return root() / STORE


def embedded_database() -> Path:
    return store_folder() / DATABASE


def tracking_uri() -> str:
    """MLFLOW_TRACKING_URI where it is set, else the SQLite database in mlruns/. A SQLite database's relative path is
    relative to the repository: a stage may run in a temporary copy, in which the database would be lost."""
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    if not uri:
        return sqlite_uri(embedded_database())
    path, _, options = uri.partition(":///")[2].partition("?")
    file = database(uri)
    if file is None or path.startswith("/"):
        return uri
    return sqlite_uri(file) + (f"?{options}" if options else "")


def is_embedded() -> bool:
    """Whether the runs go to the database in mlruns/."""
    return tracking_uri() == sqlite_uri(embedded_database())


def sqlite_uri(file: Path) -> str:
    """The address of a SQLite database; characters with a meaning in addresses are quoted."""
    quoted = str(file).replace("%", "%25").replace("?", "%3F")
    # MLflow would not unquote the path after "sqlite:///", and make the folders that it names.
    return f"{'sqlite' if quoted == str(file) else 'sqlite+pysqlite'}:///{quoted}"


def database(uri: str) -> Path | None:
    """The file of a store that is a SQLite database, else None."""
    kind, _, rest = uri.partition(":///")
    if kind not in ("sqlite", "sqlite+pysqlite"):
        return None
    return root() / urllib.parse.unquote(rest.partition("?")[0])


def is_http(uri: str) -> bool:
    """Whether a store is a server of MLflow."""
    return uri.startswith(("http:", "https:"))


def is_database_server(uri: str) -> bool:
    """Whether a store is a database with a server, such as PostgreSQL."""
    return uri.partition(":")[0].partition("+")[0] in PORTS
