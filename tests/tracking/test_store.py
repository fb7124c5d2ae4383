"""Stores that do not answer, cannot be opened, or are made by several processes at once."""

import http.server
import shutil
import socket
import sqlite3
import threading
import time

import pytest
from tracked_stages import runs, start

from glassbox import tracking
from glassbox.core.errors import UserError
from glassbox.tracking import address, comparisons, store


def test_three_stages_may_start_at_once_on_a_fresh_store(project):
    shutil.rmtree(project / address.STORE)
    started = [start(project, name, 0.0) for name in ("prepare", "tune", "train")]
    assert [process.wait(timeout=120) for process in started] == [0, 0, 0]
    assert len(runs(project, kind="study")) == 1
    assert {run.info.run_name: run.data.metrics["loss"] for run in runs(project, kind="stage")} == {
        "prepare": 1.0,
        "tune": 1.0,
        "train": 1.0,
    }
    with sqlite3.connect(project / address.STORE / address.DATABASE) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


@pytest.mark.parametrize(
    ("uri", "part"),
    [
        (
            "http://127.0.0.1:9",
            r"MLFLOW_TRACKING_URI = http://127.0.0.1:9 does not answer .* start that server, or unset",
        ),
        ("http://me:secret@127.0.0.1:9", r"http://me:\*\*\*@127.0.0.1:9 does not answer"),
        ("postgresql+psycopg://me:secret@127.0.0.1:9/x", r"me:\*\*\*@127.0.0.1:9/x does not answer \(.*refused"),
        (
            "http://[::1",
            r"MLFLOW_TRACKING_URI = http://\[::1 is no address \(Invalid IPv6 URL\): it must be one like http://127.0.0.1:5000",
        ),
        ("http://host:number", r"is no address \(nonnumeric port: 'number'\)"),
        ("http://", r"MLFLOW_TRACKING_URI = http:// does not answer \(no host given\)"),
        ("http://two words", r"is no address \(URL can't contain control characters"),
        (
            "sqlite://",
            r"MLFLOW_TRACKING_URI = sqlite:// is a database in memory, which ends with each stage: name a file",
        ),
        ("sqlite:///:memory:", r"sqlite:///:memory: is a database in memory"),
    ],
)
def test_an_unreachable_server_is_one_sentence_before_any_work(project, monkeypatch, uri, part):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    worked = False
    with pytest.raises(UserError, match=part), tracking.stage("train"):
        worked = True
    assert not worked


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("nonsense://somewhere", "unsupported URI 'nonsense://somewhere'"),
        ("sqlite:////dev/null/mlflow.db", "File exists: '/dev/null'"),
        ("sqlite:///params.yaml", "file is not a database"),
    ],
)
def test_a_store_that_cannot_be_opened_stops_the_stage_before_any_work(project, monkeypatch, uri, reason):
    """The recorder's own sentence says why, at once: MLflow tries for minutes."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    worked, began = False, time.monotonic()
    sentence = rf"logging to MLflow at (sqlite|nonsense).* failed: the MLflow store .* cannot be opened: .*{reason}"
    with pytest.raises(UserError, match=sentence), tracking.stage("train"):
        worked = True
    assert not worked
    assert time.monotonic() - began < 60


@pytest.mark.parametrize("kind", ["postgresql+psycopg", "http"])
def test_a_server_that_takes_connections_and_says_nothing_is_given_up_after_seconds(project, monkeypatch, kind):
    monkeypatch.setattr(store, "ANSWER_SECONDS", 2)
    began = time.monotonic()
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"{kind}://127.0.0.1:{mute.getsockname()[1]}/x")
        with pytest.raises(UserError, match=r"cannot be opened: .*timeout|does not answer \(timed out\)"):
            comparisons.note_verified("0" * 16, "3 of 3 files agree")
    assert time.monotonic() - began < 30


class Healthy(http.server.BaseHTTPRequestHandler):
    """A server that is up, and then takes its time."""

    def do_GET(self):
        self.send_response(200)
        self.end_headers()

    def do_POST(self):
        time.sleep(5)

    def log_message(self, *_):
        pass


@pytest.fixture
def port():
    """Of a healthy server."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Healthy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def test_a_server_that_falls_silent_after_its_first_answer_is_given_up_after_seconds(project, monkeypatch, port):
    monkeypatch.setattr(store, "ANSWER_SECONDS", 1)
    for key in ("MLFLOW_HTTP_REQUEST_TIMEOUT", "MLFLOW_HTTP_REQUEST_MAX_RETRIES"):
        monkeypatch.setenv(key, "")  # to be put back
        monkeypatch.delenv(key)
    store.with_little_patience()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    began = time.monotonic()
    with pytest.raises(UserError, match=r"cannot be opened: .*(timed out|Max retries)"):
        comparisons.note_verified("0" * 16, "3 of 3 files agree")
    assert time.monotonic() - began < 30


def test_a_name_and_password_are_not_taken_for_the_host(monkeypatch, port):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:secret@127.0.0.1:{port}")
    store.check()
