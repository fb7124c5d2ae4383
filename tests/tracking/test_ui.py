"""`make ui`."""

import json
import socket
import subprocess
import sys
import urllib.request

import pytest
from conftest import ROOT, environment
from services import free_port, wait_for_page
from tracked_stages import begin, bundle, client, log_model, runs, save_model

from glassbox.core.errors import UserError
from glassbox.tracking import address, ui


def test_make_ui_serves_the_runs_and_takes_new_ones(project, tmp_path, monkeypatch):
    """The server of `make ui`: on loopback, with the artifacts of the store; a stage may also log through it."""
    (project / "out").mkdir()
    (project / "out" / "picture.txt").write_text("red and blue")
    begin("explain", folder="out")
    port, log = free_port(), tmp_path / "log"
    with log.open("w") as file:
        server = subprocess.Popen(
            [sys.executable, "-m", "glassbox.tracking"],
            cwd=project,
            stdout=file,
            stderr=subprocess.DEVNULL,
            env=environment(PYTHONPATH=str(ROOT / "src"), PORT=str(port)),
        )
    try:
        server_address = f"http://127.0.0.1:{port}"
        wait_for_page(f"{server_address}/health", log)
        page = "#/experiments/1/runs?workflowType=machine_learning&viewStateShareKey=glassbox"
        assert log.read_text().startswith(f"MLflow: {server_address}/{page}\n")
        (stage,) = runs(project, kind="stage")
        query = f"run_uuid={stage.info.run_id}"
        with urllib.request.urlopen(f"{server_address}/get-artifact?path=picture.txt&{query}") as answer:
            assert answer.read() == b"red and blue"
        with urllib.request.urlopen(f"{server_address}/ajax-api/2.0/mlflow/artifacts/list?{query}") as answer:
            assert [file["path"] for file in json.load(answer)["files"]] == ["picture.txt"]

        monkeypatch.setenv("MLFLOW_TRACKING_URI", server_address)
        begin("report", folder="out")
        assert [run.info.run_name for run in runs(project, kind="stage")] == ["explain", "report"]
        assert len(list((project / address.STORE / "artifacts").rglob("picture.txt"))) == 2

        save_model(project / "models")
        for n_versions in (1, 1, 2):
            if n_versions == 2:
                (bundle(project) / "model.json").unlink()
            log_model()
            versions = client(project).search_model_versions("name = 'glassbox-digits'")
            assert len(versions) == n_versions, "a model is logged again if it is not whole"
        with socket.socket() as another, pytest.raises(OSError, match="refused"):
            another.connect(("127.0.0.2", port))  # bound to one address, not to all of the machine
    finally:
        server.terminate()
        server.wait(timeout=30)


def test_ui_names_what_stands_in_its_way(project, monkeypatch):
    for port in ("abc", "70000", "0", ""):
        monkeypatch.setenv("PORT", port)
        with pytest.raises(UserError, match=rf"PORT={port}: it must be a number from 1 to 65535"):
            ui.serve()
    monkeypatch.delenv("PORT")
    with pytest.raises(UserError, match=r"there are no runs of the study 'digits' yet: 'make study' makes them"):
        ui.serve()
    begin("train")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setenv("PORT", str(port))
        sentence = rf"port {port} is in use: choose another one, as in 'make ui PORT={port + 1}'"
        with pytest.raises(UserError, match=sentence):
            ui.serve()
