"""`make ui`."""

import json
import socket
import subprocess
import sys
import threading
import time
import urllib.request

import numpy as np
import pytest
from conftest import ROOT, environment
from tracked_stages import DATA, bundle, client, free_port, log_model, runs, save_model

from glassbox import tracking
from glassbox.core.errors import UserError
from glassbox.tracking import address, ui


def wait_for(address: str) -> None:
    for _ in range(240):
        try:
            urllib.request.urlopen(f"{address}/health", timeout=1)
            return
        except OSError:
            time.sleep(0.25)
    pytest.fail("the server did not start")


def test_make_ui_serves_the_runs_and_takes_new_ones(project, monkeypatch):
    """The server of `make ui`: on loopback, with the artifacts of the store; a stage may also log through it."""
    (project / "out").mkdir()
    (project / "out" / "picture.txt").write_text("red and blue")
    with tracking.stage("explain") as tracked:
        tracked.begin(DATA)
        tracked.log_files("out")
    port = free_port()
    server = subprocess.Popen(
        [sys.executable, "-m", "glassbox.tracking"],
        cwd=project,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment(PYTHONPATH=str(ROOT / "src"), PORT=str(port)),
    )
    try:
        server_address = f"http://127.0.0.1:{port}"
        page = "#/experiments/1/runs?workflowType=machine_learning&viewStateShareKey=glassbox"
        assert server.stdout.readline() == f"MLflow: {server_address}/{page}\n"
        # Else its log would fill the pipe, and it wait.
        threading.Thread(target=server.stdout.read, daemon=True).start()
        wait_for(server_address)
        (stage,) = runs(project, kind="stage")
        query = f"run_uuid={stage.info.run_id}"
        with urllib.request.urlopen(f"{server_address}/get-artifact?path=picture.txt&{query}") as answer:
            assert answer.read() == b"red and blue"
        with urllib.request.urlopen(f"{server_address}/ajax-api/2.0/mlflow/artifacts/list?{query}") as answer:
            assert [file["path"] for file in json.load(answer)["files"]] == ["picture.txt"]

        monkeypatch.setenv("MLFLOW_TRACKING_URI", server_address)
        with tracking.stage("report") as tracked:
            tracked.begin(DATA)
            tracked.log_files("out")
        assert [run.info.run_name for run in runs(project, kind="stage")] == ["explain", "report"]
        assert len(list((project / address.STORE / "artifacts").rglob("picture.txt"))) == 2

        save_model(project / "models")
        images = np.zeros((2, 8, 8, 3), np.uint8)
        log_model(project, images)
        log_model(project, images)
        assert len(client(project).search_model_versions("name = 'glassbox-digits'")) == 1, "it is whole"
        (bundle(project) / "model.json").unlink()
        log_model(project, images)
        assert len(client(project).search_model_versions("name = 'glassbox-digits'")) == 2, "it was logged again"
        with socket.socket() as another, pytest.raises(OSError, match="refused"):
            another.connect(("127.0.0.2", port))  # bound to one address, not to all of the machine
    finally:
        server.terminate()
        server.wait(timeout=30)


def test_ui_says_what_stands_in_its_way(project, monkeypatch):
    for port in ("abc", "70000", "0", ""):
        monkeypatch.setenv("PORT", port)
        with pytest.raises(UserError, match=rf"PORT={port}: it must be a number from 1 to 65535"):
            ui.serve()
    monkeypatch.delenv("PORT")
    with pytest.raises(UserError, match=r"there are no runs of the study 'digits' yet: 'make study' makes them"):
        ui.serve()
    with tracking.stage("train") as tracked:
        tracked.begin(DATA)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setenv("PORT", str(port))
        with pytest.raises(
            UserError, match=rf"port {port} is in use: choose another one, as in 'make ui PORT={port + 1}'"
        ):
            ui.serve()
