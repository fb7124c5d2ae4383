"""`make ui`: MLflow's page of the study, from the runs' server, or else from one that is started here."""

import os
import socket
import sys
import time
import urllib.request

from glassbox.config.loading import load
from glassbox.config.study import Study
from glassbox.core.errors import UserError, masked
from glassbox.tracking import address, artifacts, ownership, store
from glassbox.tracking.runs import VIEW

HOST = "127.0.0.1"
START_SECONDS = 60  # after which no browser is opened


def serve() -> None:
    """Print the page's address, and serve the runs of this repository on the loopback interface until stopped."""
    study, port = load(Study)[0].name, _port()
    store.check()
    client = store.connect()
    ownership.mark_killed(client)
    experiment = client.get_experiment_by_name(study)
    if experiment is None:
        raise UserError(f"there are no runs of the study {study!r} yet: 'make study' makes them")
    page = f"#/experiments/{experiment.experiment_id}/runs?workflowType=machine_learning&viewStateShareKey={VIEW}"
    uri = address.tracking_uri()
    if address.is_http(uri):
        print(f"MLflow: {masked(uri).rstrip('/')}/{page}")
        return
    _check_free(port)
    page_address = f"http://{HOST}:{port}/{page}"
    print(f"MLflow: {page_address}\nCtrl-C stops it.", flush=True)
    if can_open_browser() and os.fork() == 0:
        _open_when_ready(port, page_address)
        os._exit(0)
    # The server replaces this process, so that Ctrl-C and kill reach it. Without background jobs, which glassbox does
    # not use, it is two processes instead of eight.
    arguments = ["--host", HOST, "--port", str(port), "--workers", "1"]
    arguments += ["--artifacts-destination", (address.store_folder() / artifacts.FOLDER).as_uri()]
    variables = {
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "PYTHONWARNINGS": "ignore",
        "MLFLOW_BACKEND_STORE_URI": uri,  # arguments, and a password in them, can be read by every user
    }
    command = [sys.executable, "-m", "mlflow", "server", *arguments]
    os.execve(sys.executable, command, os.environ | variables)  # noqa: S606 (no shell)


def can_open_browser() -> bool:
    """Whether to open a page for the user: stdout is a terminal, and there is a display."""
    has_display = sys.platform == "darwin" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return bool(has_display) and sys.stdout.isatty()


def _port() -> int:
    port = os.environ.get("PORT", "5000")
    if not (port.isdecimal() and 0 < int(port) < 65536):
        raise UserError(f"PORT={port}: it must be a number from 1 to 65535")
    return int(port)


def _check_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            raise UserError(f"port {port} is in use: choose another one, as in 'make ui PORT={port + 1}'") from None


def _open_when_ready(port: int, page_address: str) -> None:
    import webbrowser

    for _ in range(2 * START_SECONDS):
        try:
            with urllib.request.urlopen(f"http://{HOST}:{port}/health", timeout=1):
                webbrowser.open(page_address)
                return
        except OSError:
            time.sleep(0.5)
