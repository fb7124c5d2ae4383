"""What stages call: the run of a stage, whose calls are sent to a recorder.

The recorder is a process beside the stage, and imports mlflow; the stage waits for it only at its end. `report` fills
the study's row from the files, so that it is complete even when DVC took every other stage from its cache.
GLASSBOX_TRACKING=off turns all of it off.
"""

import functools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from glassbox.core.errors import UserError, masked
from glassbox.tracking import address, store
from glassbox.tracking.recorder import READY, Recorder
from glassbox.tracking.writer import now

if TYPE_CHECKING:
    from glassbox.data.store import Description

_started_early: list[tuple[subprocess.Popen, Connection]] = []  # the recorder of a stage that has not begun yet


def is_on() -> bool:
    return os.environ.get("GLASSBOX_TRACKING") != "off"


def start_recorder() -> tuple[subprocess.Popen, Connection]:
    """A recorder process, which imports mlflow and then waits for its first message, and the pipe to it."""
    source = str(Path(__file__).resolve().parents[2])
    command = [sys.executable, "-m", "glassbox.tracking", "record"]
    reader, writer = Pipe(duplex=False)
    with reader:
        variables = os.environ | {"PYTHONPATH": source}
        return subprocess.Popen(command, stdin=reader.fileno(), stdout=subprocess.PIPE, env=variables), writer


def start_early() -> None:
    """Start the recorder of this process's stage: it imports mlflow while the stage still imports torch."""
    if is_on():
        _started_early.append(start_recorder())


def _sent(method: Callable[..., None]) -> Callable[..., None]:
    """A method of `StageRun` that sends its arguments to the recorder's method of the same name."""

    @functools.wraps(method)
    def send(self: "StageRun", *arguments: Any, **options: Any) -> None:
        self._send(method.__name__, *arguments, **options)

    return send


class StageRun:
    """The run of one stage, nested under its study's row. Made by `stage`; its methods return at once.

    Each of them raises a UserError when what was sent before could not be logged.
    """

    def __init__(self, name: str) -> None:
        self._dvc = _running_dvc()
        self._recorder: subprocess.Popen | None = None
        if is_on():
            store.check()
            self._recorder, self._pipe = _started_early.pop() if _started_early else start_recorder()
            self._send("start", name)
            if os.environ.get("MLFLOW_TRACKING_URI"):  # a store that we did not make may refuse us in many ways
                self._send("report_ready")
                if (answer := self._recorder.stdout.readline()) != READY:
                    self._wait(answer)

    def begin(self, data: "Description") -> None:
        """Open the runs, as soon as the data are known."""
        self._send("begin", asdict(data))

    log_params = _sent(Recorder.log_params)
    log_metrics = _sent(Recorder.log_metrics)
    log_headline = _sent(Recorder.log_headline)
    log_files = _sent(Recorder.log_files)
    log_trial = _sent(Recorder.log_trial)
    log_model = _sent(Recorder.log_model)
    complete_study = _sent(Recorder.complete_study)
    log_images = _sent(Recorder.log_images)

    def end(self, status: str) -> None:
        """Wait until everything is logged, and close the runs. If DVC was killed meanwhile, it will run the stage
        again, and that run continues this one.

        Raises:
            UserError: something could not be logged.
        """
        if self._recorder:
            if status == "FINISHED" and self._dvc and (not self._dvc.is_running() or self._dvc.status() == "zombie"):
                status = "KILLED"
            self._send("end", status)
            self._wait()

    def _send(self, method: str, *arguments: Any, **options: Any) -> None:
        if self._recorder:
            try:
                self._pipe.send((method, now(), arguments, options))
            except BrokenPipeError:  # the recorder has failed: the stage must not work on for hours
                self._wait()

    def _wait(self, first_line: bytes = b"") -> None:
        """Wait for the end of the recorder, which may have printed a first line of its error already.

        Raises:
            UserError: it has failed.
        """
        recorder, self._recorder = self._recorder, None
        self._pipe.close()
        rest, _ = recorder.communicate()
        if recorder.returncode:
            printed = (first_line + rest).decode(errors="replace").strip()
            reason = printed or f"its recorder ended with code {recorder.returncode}"
            raise UserError(f"logging to MLflow at {masked(address.tracking_uri())} failed: {reason}")


@contextmanager
def stage(name: str) -> Iterator[StageRun]:
    """Track a stage, and end its run as the block ends. The block calls `begin` first, as soon as it knows the data.

    Raises:
        UserError: before the block, when the store cannot be reached; after it, when something could not be logged.
    """
    tracked = StageRun(name)
    try:
        yield tracked
    except BaseException as error:
        try:
            tracked.end("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
        except UserError as second:  # must not hide the first
            print(f"warning: {second}", file=sys.stderr)
        raise
    tracked.end("FINISHED")


def _running_dvc() -> psutil.Process | None:
    """The DVC that runs this stage. A shell may stand between the two; DVC sets DVC_STAGE for it as well."""
    if "DVC_STAGE" not in os.environ:
        return None
    for process in psutil.Process().parents():
        with suppress(psutil.Error):  # it has just ended, or its variables are hidden
            if "DVC_STAGE" not in process.environ():
                return process
    return None
