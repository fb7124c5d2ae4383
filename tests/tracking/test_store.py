"""Stores that do not answer, cannot be opened, or are created by several processes at once."""

import http.server
import shutil
import socket
import sqlite3
import threading
import time

import pytest
from tracked_stages import DATA, runs

from glassbox import tracking
from glassbox.core.errors import UserError
from glassbox.tracking import address, comparisons, store


def test_three_stages_may_start_at_once_on_a_fresh_store(project):
    shutil.rmtree(project / address.STORE)
    stages = [tracking.StageRun(name) for name in ("prepare", "tune", "train")]
    for stage in stages:
        stage.begin(DATA)
        stage.log_metrics({"loss": 1.0})
    for stage in stages:
        stage.end("FINISHED")
    assert len(runs(project, kind="study")) == 1
    losses = {run.info.run_name: run.data.metrics["loss"] for run in runs(project, kind="stage")}
    assert losses == {"prepare": 1.0, "tune": 1.0, "train": 1.0}
    with sqlite3.connect(project / address.STORE / address.DATABASE) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


OPENED = r"^logging to MLflow at (sqlite|nonsense).* failed: the MLflow store .* cannot be opened: .*"


@pytest.mark.parametrize(
    ("uri", "sentence"),
    [
        ("http://127.0.0.1:9", r"TRACKING_URI = http://127.0.0.1:9 does not answer .* start that server, or unset"),
        ("http://me:secret@127.0.0.1:9", r"http://me:\*\*\*@127.0.0.1:9 does not answer"),
        ("postgresql+psycopg://me:secret@127.0.0.1:9/x", r"me:\*\*\*@127.0.0.1:9/x does not answer \(.*refused"),
        ("http://[::1", r"http://\[::1 is no address \(Invalid IPv6 URL\): it must be one like http://127.0.0.1:5000"),
        ("http://host:number", r"is no address \(nonnumeric port: 'number'\)"),
        ("http://", r"MLFLOW_TRACKING_URI = http:// does not answer \(no host given\)"),
        ("http://two words", r"is no address \(URL can't contain control characters"),
        ("sqlite://", r"URI = sqlite:// is a database in memory, which ends with each stage: name a file"),
        ("sqlite:///:memory:", r"sqlite:///:memory: is a database in memory"),
        ("nonsense://somewhere", f"{OPENED}unsupported URI 'nonsense://somewhere'"),
        ("sqlite:////dev/null/mlflow.db", f"{OPENED}File exists: '/dev/null'"),
        ("sqlite:///params.yaml", f"{OPENED}file is not a database"),
    ],
)
def test_a_store_that_cannot_be_opened_is_one_sentence_before_any_work(project, monkeypatch, uri, sentence):
    """At once: MLflow tries for minutes."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    worked, began = False, time.monotonic()
    with pytest.raises(UserError, match=sentence), tracking.stage("train"):
        worked = True
    assert not worked
    assert time.monotonic() - began < 60


class Healthy(http.server.BaseHTTPRequestHandler):
    """A server that is up, and then takes too long."""

    def do_GET(self):
        self.send_response(200)
        self.end_headers()

    def do_POST(self):
        time.sleep(5)

    def log_message(self, *_):
        pass


@pytest.mark.parametrize(
    ("uri", "sentence"),
    [
        ("postgresql+psycopg://127.0.0.1:{mute}/x", r"cannot be opened: .*timeout"),
        ("http://127.0.0.1:{mute}", r"does not answer \(timed out\)"),
        ("http://me:secret@127.0.0.1:{healthy}", r"http://me:\*\*\*@.* cannot be opened: .*(timed out|Max retries)"),
    ],
)
def test_a_server_that_stops_answering_is_given_up_after_seconds(project, monkeypatch, uri, sentence):
    """From the start, or after its first answer."""
    monkeypatch.setattr(store, "ANSWER_SECONDS", 1)
    for key in ("MLFLOW_HTTP_REQUEST_TIMEOUT", "MLFLOW_HTTP_REQUEST_MAX_RETRIES"):
        monkeypatch.setenv(key, "")  # to be restored
        monkeypatch.delenv(key)
    store.with_little_patience()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Healthy) as server, socket.socket() as mute:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        address = uri.format(mute=mute.getsockname()[1], healthy=server.server_port)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        began = time.monotonic()
        with pytest.raises(UserError, match=sentence):
            comparisons.note_verified("0" * 16, "3 of 3 files agree")
        server.shutdown()
    assert time.monotonic() - began < 30
