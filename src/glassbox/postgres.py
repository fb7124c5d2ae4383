"""The database that `tune.storage` names: whether it can be worked with, found out in milliseconds and without optuna.

Nothing here takes a password: libpq finds it in PGPASSWORD, PGPASSFILE or ~/.pgpass.
"""

import os
import urllib.parse
from typing import TYPE_CHECKING

from glassbox.errors import UserError, cut, masked

if TYPE_CHECKING:
    import psycopg

# A machine that is cut off must neither wait for ever nor be waited for: what it had locked would stay so for two
# hours. Optuna compares times of the session's zone, which must be the same for all.
SETTINGS = {
    "connect_timeout": 10,  # seconds
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,  # milliseconds
    "options": "-c tcp_keepalives_idle=30 -c tcp_keepalives_interval=10 -c tcp_keepalives_count=3"
    " -c idle_in_transaction_session_timeout=60s -c timezone=UTC",
}

_password: dict[str, str] = {}  # by which the last connection was had, under libpq's name


def connect(url: str) -> "psycopg.Connection":
    """A connection that commits each statement.

    Args:
        url: as in `tune.storage`.

    Raises:
        UserError: psycopg is not installed.
        psycopg.Error: there is no connection to be had.
    """
    try:
        import psycopg
    except ImportError:
        raise UserError(
            f"tune.storage is {url}, but psycopg, by which PostgreSQL is reached, is not installed: "
            "pip install 'glassbox[cluster]'"
        ) from None
    parts = urllib.parse.urlsplit(url)
    given = {"user": parts.username, "host": parts.hostname, "port": parts.port, "dbname": parts.path[1:]}
    unquoted = {key: urllib.parse.unquote(str(value)) for key, value in given.items() if value is not None}
    made = psycopg.connect(**unquoted, **SETTINGS, autocommit=True)
    _password.clear()
    if made.info.password:
        _password["PGPASSWORD"] = made.info.password
    return made


def variables() -> dict[str, str]:
    """What libpq needs in the environment of a process on another machine, which has no ~/.pgpass, to connect as this
    one has."""
    own = {name: value for name, value in os.environ.items() if name.startswith("PG") and name != "PGPASSFILE"}
    return own | _password


def check(url: str) -> None:
    """Whether a search can be kept there.

    Raises:
        UserError: the server does not answer, it refuses the user or has no such database, the user may not write to
            it, or psycopg is not installed.
    """
    try:
        with connect(url) as database:
            user, may = database.execute(
                "select current_user, coalesce(case when to_regclass('studies') is null"
                " then has_schema_privilege(current_schema(), 'create') else has_table_privilege('studies', 'insert')"
                " end, false)"
            ).fetchone()
    except UserError:
        raise
    except Exception as error:
        if not away(error):
            raise
        raise UserError(
            f"tune.storage is {url}, which cannot be opened ({reason(error)}): it must be a PostgreSQL server that "
            "runs and has this database, with the user's password, if it asks for one, in PGPASSWORD or ~/.pgpass"
        ) from None
    if not may:
        raise UserError(
            f"tune.storage is {url}, in which the user {user} may not keep a search: make a database that is the "
            f"user's own, as 'createdb --owner={user} NAME' does"
        )


def away(error: Exception) -> bool:
    """Whether an error of psycopg's or SQLAlchemy's, or one that it is the cause of, says that the database cannot be
    worked with just now, and not that it was asked for something wrong."""
    import psycopg
    from sqlalchemy import exc

    error = error.__cause__ if isinstance(error.__cause__, exc.SQLAlchemyError) else error
    lost = (psycopg.OperationalError, exc.OperationalError, exc.InterfaceError, exc.PendingRollbackError)
    return isinstance(error, lost) or (isinstance(error, exc.DBAPIError) and error.connection_invalidated)


def refused(error: Exception) -> bool:
    """Whether the server is there, and does not let this user in: it will not either when one waits."""
    return any(word in reason(error) for word in ("password", "pg_hba.conf"))


def reason(error: Exception) -> str:
    """What the server or the system said, in a few words: of several addresses that were tried, at the last."""
    error = error.__cause__ or error
    return cut(masked(" ".join(str(getattr(error, "orig", error)).rpartition(" failed: ")[2].split())))
