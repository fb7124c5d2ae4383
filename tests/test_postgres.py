import os
import subprocess
import sys

import pytest
from conftest import ROOT
from services import postgres as server_in

from glassbox import __main__ as commands
from glassbox import postgres
from glassbox.errors import UserError


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with server_in(tmp_path_factory.mktemp("server")) as made:
        yield made


@pytest.fixture(autouse=True)
def password(server, monkeypatch, tmp_path):
    monkeypatch.setenv("PGPASSWORD", server.password)
    monkeypatch.setenv("HOME", str(tmp_path))


def refusal(url: str) -> str:
    with pytest.raises(UserError) as error:
        postgres.check(url)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(f"tune.storage is {url}, ")
    return str(error.value)


def test_a_database_that_can_be_worked_with(server):
    postgres.check(server.create("good"))


def test_what_is_wrong_is_said_in_one_sentence_without_a_password(server, monkeypatch):
    good = server.create("wanted")
    assert 'FATAL: database "none" does not exist' in refusal(good.replace("/wanted", "/none"))
    assert "Connection refused" in refusal(good.replace(f":{server.port}/", ":9/"))
    assert "failed to resolve host 'nowhere.invalid'" in refusal(good.replace("127.0.0.1", "nowhere.invalid"))
    assert 'failed for user "a b"' in refusal(good.replace("glassbox@", "a%20b@"))
    monkeypatch.setenv("PGPASSWORD", "the wrong one")
    said = refusal(good)
    assert 'password authentication failed for user "glassbox"' in said
    assert "in PGPASSWORD or ~/.pgpass" in said
    assert "the wrong one" not in said
    monkeypatch.delenv("PGPASSWORD")
    assert "no password supplied" in refusal(good)


def test_the_password_may_stand_in_a_file(server, monkeypatch, tmp_path):
    good = server.create("by_file")
    monkeypatch.delenv("PGPASSWORD")
    (tmp_path / "passwords").write_text(f"{server.host}:*:*:{server.user}:{server.password}\n")
    (tmp_path / "passwords").chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(tmp_path / "passwords"))
    postgres.check(good)
    # A worker on another machine has no such file.
    assert postgres.variables()["PGPASSWORD"] == server.password
    assert "PGPASSFILE" not in postgres.variables()


def test_a_user_who_may_not_write_is_told_so(server):
    good = server.create("of_another")
    with postgres.connect(good) as database:
        database.execute(f"create role reader login password '{server.password}'")
    mine = good.replace("glassbox@", "reader@")
    assert "the user reader may not keep a search: make a database that is the user's own" in refusal(mine)
    with postgres.connect(good) as database:
        database.execute("create table studies (study_id int)")
    assert "may not keep a search" in refusal(mine)


def test_a_missing_driver_is_named(server, monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    assert refusal(server.uri("good")).endswith("is not installed: pip install 'glassbox[cluster]'")


def test_only_what_passes_by_itself_is_waited_for(server):
    import psycopg
    from sqlalchemy import exc

    assert postgres.away(psycopg.OperationalError("connection failed"))
    assert postgres.away(exc.OperationalError("select", {}, psycopg.OperationalError("the connection is lost")))
    wrong = exc.ProgrammingError("select", {}, psycopg.errors.UndefinedTable("no such table"))
    assert not postgres.away(wrong)
    assert not postgres.away(ValueError("of the program"))
    told = ValueError("Optuna's own")
    told.__cause__ = wrong
    assert not postgres.away(told)
    told.__cause__ = exc.OperationalError("select", {}, psycopg.OperationalError("connection failed: refused"))
    assert postgres.away(told)
    assert postgres.reason(told) == "refused"


def test_what_a_machine_that_is_cut_off_leaves_open_is_closed_by_the_server(server):
    with postgres.connect(server.create("settings")) as database:
        shown = {name: database.execute(f"show {name}").fetchone()[0] for name in (
            "idle_in_transaction_session_timeout", "tcp_keepalives_idle", "timezone")}  # fmt: skip
    assert shown == {"idle_in_transaction_session_timeout": "1min", "tcp_keepalives_idle": "30", "timezone": "UTC"}


def test_check_and_tune_stop_before_any_work(server, monkeypatch, tmp_path):
    url = server.uri("missing")
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".git").mkdir()
    text = (ROOT / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(text.replace("storage: null", f"storage: {url}"))
    with pytest.raises(UserError, match='database "missing" does not exist'):
        commands.check()
    done = subprocess.run([sys.executable, "-m", "stages.tune"], cwd=tmp_path, capture_output=True, text=True,
                          env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"})  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: tune.storage is {url}, which cannot be opened (FATAL: database")
    assert len(done.stderr.splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == [".git", "params.yaml"]


def test_without_a_database_its_libraries_are_not_imported(tmp_path):
    code = """
import sys
from glassbox import __main__, config, postgres, tuning
from tests.test_tuning import DATA, KNOWN, PLACE
params = config.read("params.yaml")
tuning.Search(params.tune, KNOWN, params.augment, 0, DATA, PLACE, sys.argv[1]).begin()
print([name for name in ("psycopg", "sqlalchemy", "alembic") if name in sys.modules])
"""
    paths = {"PYTHONPATH": f"{ROOT}:{ROOT / 'src'}:{ROOT / 'tests'}"}
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, env=os.environ | paths,
                          capture_output=True, text=True)  # fmt: skip
    assert (done.stdout, done.stderr) == ("[]\n", "")
