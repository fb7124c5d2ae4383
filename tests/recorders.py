"""Processes for tests of logging. Most are forks of a server that has imported mlflow, which takes two seconds."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from glassbox.tracking import recorder

_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload(["mlflow.store.tracking.sqlalchemy_store", "glassbox.tracking.recorder"])


def start(work: Callable[..., None], *arguments: object) -> BaseProcess:
    """Call a function of a module in a process of its own, with this one's folder and environment."""
    process = _server.Process(target=_call, args=(Path.cwd(), dict(os.environ), work, arguments))
    process.start()
    return process


def _call(folder: Path, environment: dict[str, str], work: Callable[..., None], arguments: tuple[object, ...]) -> None:
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    work(*arguments)


def fork(work: Callable[[], None]) -> int:
    """Call a function in a fork of this process; the id of that."""
    pid = os.fork()
    if not pid:
        try:
            work()
        finally:
            os._exit(1)
    return pid


def killed_after(work: Callable[[], None]) -> None:
    """Call a function in a fork of this process, which is then killed."""

    def work_and_die() -> None:
        work()
        os.kill(os.getpid(), signal.SIGKILL)

    assert os.WTERMSIG(os.waitpid(fork(work_and_die), 0)[1]) == signal.SIGKILL


def start_recorder() -> tuple["Recorder", Connection]:
    """See `client.start_recorder`."""
    reader, writer = Pipe(duplex=False)
    with reader:
        return Recorder(reader), writer


class Recorder:
    """What `client.StageRun` uses of a recorder's `subprocess.Popen`."""

    def __init__(self, pipe: Connection) -> None:
        self.returncode: int | None = None
        output, child_output = Pipe(duplex=False)
        with output, child_output:
            self._process = start(_serve, pipe, child_output)
            self.stdout = os.fdopen(os.dup(output.fileno()), "rb")

    def communicate(self) -> tuple[bytes, None]:
        """See `subprocess.Popen.communicate`."""
        with self.stdout:
            output = self.stdout.read()
        self._process.join()
        self.returncode = self._process.exitcode
        return output, None


def _serve(pipe: Connection, output: Connection) -> None:
    for connection, place in ((pipe, 0), (output, 1)):
        os.dup2(connection.fileno(), place)
        connection.close()
    sys.stdin, sys.stdout = os.fdopen(0), os.fdopen(1, "w")
    recorder.serve()
