"""What stages call: the run of a stage, whose calls are sent to a recorder.

The recorder is a process beside the stage, and knows mlflow; the stage waits for it only at its end. `report` fills the
study's row from the files, so that it is complete even when DVC took every other stage from its cache.
GLASSBOX_TRACKING=off leaves it all out.
"""

import functools
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glassbox.core.errors import UserError, masked
from glassbox.tracking import address, store
from glassbox.tracking.messages import Message, encode
from glassbox.tracking.recorder import READY, Recorder
from glassbox.tracking.writer import Point, now, points

if TYPE_CHECKING:
    import psutil

    from glassbox.data.store import Description

FLUSH_SECONDS = 3.0  # for which metrics are collected

_started_early: list[subprocess.Popen] = []  # the recorder that was started before anybody asked for it


def is_on() -> bool:
    return os.environ.get("GLASSBOX_TRACKING") != "off"


def start_recorder() -> subprocess.Popen:
    """A recorder process, which imports mlflow and then waits for its first message."""
    source = str(Path(__file__).resolve().parents[2])
    return subprocess.Popen(
        [sys.executable, "-m", "glassbox.tracking", "record"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env=os.environ | {"PYTHONPATH": source},
    )


def start_early() -> None:
    """Start the recorder of the stage to come: it imports mlflow while the stage still imports torch."""
    if is_on():
        _started_early.append(start_recorder())


def _sent(method: Callable[..., None]) -> Callable[..., None]:
    """A method of the recorder as one of the stage's run: it sends its arguments, and the recorder carries it out."""

    @functools.wraps(method)
    def send(self: "StageRun", *arguments: Any, **options: Any) -> None:
        self._send(method.__name__, *arguments, **options)

    return send


class StageRun:
    """The run of one stage, nested under its study's row. Made by `stage`; its methods return at once.

    Each of them raises a UserError when what was sent before could not be logged.
    """

    def __init__(self, name: str) -> None:
        self._pending: list[Point] = []
        self._flushed = time.monotonic()
        self._dvc = _dvc_at_work()
        self._recorder: subprocess.Popen | None = None
        if is_on():
            store.check()
            self._recorder = _started_early.pop() if _started_early else start_recorder()
            self._send("start", name)
            if os.environ.get("MLFLOW_TRACKING_URI"):  # a store that we did not make may refuse us in many ways
                self._send("report_ready")
                if (answer := self._recorder.stdout.readline()) != READY:
                    self._wait(answer)

    def begin(self, data: "Description") -> None:
        """Open the runs, as soon as the data are known."""
        self._send("begin", asdict(data))

    def log_metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Metrics of this stage's own run; collected, and sent every few seconds."""
        self._pending += points(values, step, now())
        if time.monotonic() - self._flushed > FLUSH_SECONDS:
            self._flush()

    log_params = _sent(Recorder.log_params)
    log_headline = _sent(Recorder.log_headline)
    log_files = _sent(Recorder.log_files)
    log_trial = _sent(Recorder.log_trial)
    log_model = _sent(Recorder.log_model)
    complete_study = _sent(Recorder.complete_study)
    log_images = _sent(Recorder.log_images)

    def end(self, status: str) -> None:
        """Wait until everything is logged, and close the runs. When DVC was killed meanwhile it will run the stage
        again, whose run then goes on with this one.

        Raises:
            UserError: something could not be logged.
        """
        if not self._recorder:
            return
        self._flush()
        is_lost = status == "FINISHED" and self._dvc is not None and not _is_alive(self._dvc)
        self._send("end", "KILLED" if is_lost else status)
        self._wait()

    def _send(self, method: str, *arguments: Any, **options: Any) -> None:
        if self._recorder:
            try:
                self._recorder.stdin.write(encode(Message(method, now(), arguments, options)))
                self._recorder.stdin.flush()
            except BrokenPipeError:  # it has failed and gone: better to hear of it now than after hours of work
                self._wait()

    def _flush(self) -> None:
        metrics, self._pending, self._flushed = self._pending, [], time.monotonic()
        if metrics:
            self._send("log_points", metrics)

    def _wait(self, first_line: str = "") -> None:
        """Wait for the end of the recorder.

        Args:
            first_line: what it has said so far.

        Raises:
            UserError: it has failed.
        """
        recorder, self._recorder = self._recorder, None
        rest, _ = recorder.communicate()
        if recorder.returncode:
            reason = f"{first_line}{rest}".strip() or f"its recorder ended with code {recorder.returncode}"
            raise UserError(f"logging to MLflow at {masked(address.tracking_uri())} failed: {reason}")


@contextmanager
def stage(name: str) -> Iterator[StageRun]:
    """Track a stage, and end its run as the block ends.

    The block calls `begin` as soon as it knows the data; everything else follows that.

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


def _dvc_at_work() -> "psutil.Process | None":
    """The DVC that runs this stage. Between the two there may be a shell, to which DVC gives the stage's name too."""
    if "DVC_STAGE" not in os.environ:
        return None
    import psutil

    for process in psutil.Process().parents():
        with suppress(psutil.Error):  # it has just ended, or its variables are hidden
            if "DVC_STAGE" not in process.environ():
                return process
    return None


def _is_alive(process: "psutil.Process") -> bool:
    return process.is_running() and process.status() != "zombie"
