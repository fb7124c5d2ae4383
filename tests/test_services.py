"""The servers of tests/services.py themselves."""

import subprocess

import psutil
import psycopg
import pytest
import services
from services import postgres, sshd


def test_a_database_outlives_a_crash_of_its_server_and_needs_the_password(tmp_path):
    with postgres(tmp_path) as server:
        server.create("kept")
        where = {"host": server.host, "port": server.port, "user": server.user, "dbname": "kept"}
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(**where, password="wrong")  # noqa: S106 (of nothing)
        with psycopg.connect(**where, password=server.password) as connection:
            connection.execute("create table kept as select 7 as seven")
        open_then = psycopg.connect(**where, password=server.password)
        server.stop(immediate=True)
        with pytest.raises(psycopg.OperationalError):
            open_then.execute("select 1")
        with pytest.raises(psycopg.OperationalError, match="refused"):
            psycopg.connect(**where, password=server.password)
        server.start()
        with psycopg.connect(**where, password=server.password) as connection:
            assert connection.execute("select seven from kept").fetchone() == (7,)
        assert "recovery" in server.log.read_text()


def test_nothing_is_left_running_when_a_test_fails(tmp_path):
    before = set(psutil.Process().children(recursive=True))
    with pytest.raises(ZeroDivisionError), postgres(tmp_path), sshd(tmp_path):
        assert len(set(psutil.Process().children(recursive=True)) - before) > 2
        raise ZeroDivisionError
    assert set(psutil.Process().children(recursive=True)) == before


def test_a_server_that_does_not_start_fails_with_its_log(tmp_path):
    log = tmp_path / "log"
    with log.open("w") as file:
        server = subprocess.Popen(["sh", "-c", "echo no room >&2; exit 1"], stderr=file)
    with pytest.raises(pytest.fail.Exception, match="sh did not start: no room"):
        services.wait_until(lambda: False, server, log)


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(services, "POSTGRES", tmp_path)
    monkeypatch.setattr(services.shutil, "which", lambda *_, **__: None)
    for server, package in ((postgres, "postgresql"), (sshd, "openssh-server")):
        with pytest.raises(pytest.skip.Exception, match=f"apt-get install {package}"), server(tmp_path):
            pass
