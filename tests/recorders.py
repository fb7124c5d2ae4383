"""Recorders for tests, as forks of a process that has imported mlflow: by itself each of them takes two seconds for
that, and does in a tenth of one what a test asks of it."""

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from conftest import ROOT, environment

# For each connection, which brings folder, environment, stdin and stdout, a fork that is a recorder, and one that waits
# for it and tells its exit code.
ORIGIN = """
import gc, json, os, signal, socket, sys
gc.disable()
from glassbox.tracking import recorder
import mlflow.store.tracking.sqlalchemy_store

of_mlflow = {key: value for key, value in os.environ.items() if key.startswith("MLFLOW_")}
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
with socket.socket(socket.AF_UNIX) as server:
    server.bind(sys.argv[1])
    server.listen()
    print("ready", flush=True)
    while True:
        connection, _ = server.accept()
        request, ends, *_ = socket.recv_fds(connection, 2**20, 2)
        if not os.fork():
            break
        connection.close()
        for end in ends:
            os.close(end)
signal.signal(signal.SIGCHLD, signal.SIG_DFL)
if child := os.fork():
    for end in (*ends, 0, 1):
        os.close(end)
    connection.sendall(b"%d" % os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    os._exit(0)
connection.close()
for there, end in enumerate(ends):
    os.dup2(end, there)
    os.close(end)
folder, environment = json.loads(request)
os.chdir(folder)
os.environ.clear()
os.environ.update(of_mlflow | environment)
recorder.serve()
"""


class Recorder:
    """What `client.StageRun` uses of a recorder's `subprocess.Popen`."""

    def __init__(self, address: str) -> None:
        self.returncode: int | None = None
        (to_it, self_in), (self_out, from_it) = os.pipe(), os.pipe()
        self.stdin, self.stdout = os.fdopen(self_in, "w", encoding="utf-8"), os.fdopen(self_out, encoding="utf-8")
        self._ended = socket.socket(socket.AF_UNIX)
        self._ended.connect(address)
        socket.send_fds(self._ended, [json.dumps([str(Path.cwd()), dict(os.environ)]).encode()], [to_it, from_it])
        os.close(to_it)
        os.close(from_it)

    def communicate(self) -> tuple[str, None]:
        """See `subprocess.Popen.communicate`."""
        with suppress(BrokenPipeError):
            self.stdin.close()
        with self.stdout, self._ended:
            output = self.stdout.read()
            self.returncode = int(self._ended.recv(10))
        return output, None


@contextmanager
def origin() -> Iterator[str]:
    """The process that they are forks of, and the address at which a `Recorder` is asked for."""
    folder = tempfile.TemporaryDirectory()  # pytest's may be too long for an address
    address = f"{folder.name}/recorders"
    command = [sys.executable, "-c", ORIGIN, address]
    known = environment(PYTHONPATH=str(ROOT / "src"))
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=known)
    try:
        assert process.stdout.readline() == "ready\n"
        yield address
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        folder.cleanup()
