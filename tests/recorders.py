"""Recorders for tests, as forks of the test's process: a process of its own would import mlflow for two seconds."""

import os
import signal
import sys
import weakref
from collections.abc import Callable
from multiprocessing import Pipe
from multiprocessing.connection import Connection

from glassbox.tracking import recorder


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


_pipes: weakref.WeakSet[Connection] = weakref.WeakSet()  # to all recorders


def start_recorder() -> tuple["Recorder", Connection]:
    """See `client.start_recorder`."""
    reader, writer = Pipe(duplex=False)
    _pipes.add(writer)
    with reader:
        return Recorder(reader), writer


class Recorder:
    """What `client.StageRun` uses of a recorder's `subprocess.Popen`."""

    def __init__(self, pipe: Connection) -> None:
        import mlflow.store.tracking.sqlalchemy_store  # noqa: F401 (once, before the first fork)

        self.returncode: int | None = None
        stdout, child_stdout = os.pipe()
        self._pid = fork(lambda: _serve(pipe.fileno(), child_stdout))
        os.close(child_stdout)
        self.stdout = os.fdopen(stdout, "rb")

    def communicate(self) -> tuple[bytes, None]:
        """See `subprocess.Popen.communicate`."""
        with self.stdout:
            output = self.stdout.read()
        self.returncode = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        return output, None


def _serve(stdin: int, stdout: int) -> None:
    os.dup2(stdin, 0)
    os.dup2(stdout, 1)
    os.close(stdout)
    nothing = os.open(os.devnull, os.O_WRONLY)
    for pipe in _pipes:  # a recorder waits for the end of all processes that could still write to its pipe
        if not pipe.closed:
            os.dup2(nothing, pipe.fileno())
    sys.stdin, sys.stdout = os.fdopen(0), os.fdopen(1, "w")
    recorder.serve()
