"""Work in processes of their own: one that the system kills takes neither the program nor the others' work with it."""

import multiprocessing
import multiprocessing.context
import os
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from glassbox.core.errors import UserError, of_the_disk

Records = Generator[Any, Any, None]
RECORD, END, ERROR = "record", "end", "error"
LARGE = ("torch", "pandas")  # packages that take seconds to import


# What multiprocessing gives for the exit code of a process that the fork server, itself killed, cannot tell about.
UNKNOWN = 255
STARTS = 3  # of a process, while the fork server is killed


@dataclass(frozen=True)
class Died:
    """The process of an item ended in the middle of it.

    Attributes:
        exit_code: below 0, the signal that ended it; else what it exited with; None where nobody knows, because the
            process that had started it was killed, too.
    """

    exit_code: int | None

    @property
    def by_itself(self) -> bool:
        """Whether it ended as a program does, and not by a signal."""
        return self.exit_code is not None and self.exit_code >= 0

    def __str__(self) -> str:
        if self.exit_code is None:
            return "its process ended, and so did the one that had started it"
        if self.exit_code >= 0:
            return f"its process ended with exit code {self.exit_code}"
        number = -self.exit_code
        name = next((known.name for known in signal.Signals if known == number), f"signal {number}")
        return f"its process was ended by {name}{', as the system does when memory runs out' * self.killed}"

    @property
    def killed(self) -> bool:
        return self.exit_code == -signal.SIGKILL


def no_answer(item: Any, record: Any) -> None:
    """To a record that asks nothing."""


def each(
    serve: Callable[[], Callable[[Any], Records]],
    todo: deque,
    at_once: int,
    answer: Callable[[Any, Any], Any] = no_answer,
) -> Iterator[tuple[Any, Any]]:
    """Work off a queue.

    Args:
        serve: called once in each process, where it makes ready; what it returns is a generator of the records of one
            item. Sent there by pickle.
        todo: items, taken from the left whenever a process comes free. The caller may put one back.
        at_once: processes at most.
        answer: called here with an item and each of its records; what it returns is what that generator is sent before
            it goes on.

    Yields:
        (item, record) for each record of an item, in the order in which they come in; (item, `Died`) when its process
        ended, which another then replaces as long as there is work.

    Raises:
        UserError: `serve` or an item raised it.
        RuntimeError: they raised something else; the message holds the traceback.
    """
    context = _context()
    busy: dict[Connection, tuple[BaseProcess, Any]] = {}

    def give(pipe: Connection, process: BaseProcess) -> None:
        busy[pipe] = process, todo.popleft()
        with suppress(ConnectionError):  # it has just died: the pipe's end tells, next time round
            pipe.send(busy[pipe][1])

    def employ() -> None:
        if todo:
            ours, theirs = context.Pipe()
            process = context.Process(target=_work, args=(serve, theirs, dict(os.environ)), daemon=True)
            with _deaf_to_ctrl_c():
                _start(process)
            theirs.close()
            give(ours, process)

    def dismiss(pipe: Connection) -> int | None:
        process, _ = busy.pop(pipe)
        pipe.close()
        process.join()
        return None if process.exitcode == UNKNOWN else process.exitcode

    try:
        for _ in range(at_once):
            employ()
        while busy:
            for pipe in wait(list(busy)):
                process, item = busy[pipe]
                try:
                    kind, value = pipe.recv()
                except (EOFError, OSError):  # at the end of the pipe, or within a record
                    yield item, Died(dismiss(pipe))
                    employ()
                    continue
                if kind == ERROR:
                    raise value if isinstance(value, UserError) else RuntimeError(f"{item}: {value}")
                if kind == RECORD:
                    said = answer(item, value)
                    with suppress(ConnectionError):
                        pipe.send(said)
                    yield item, value
                elif todo:
                    give(pipe, process)
                else:
                    dismiss(pipe)
    finally:
        for process, _ in busy.values():
            process.kill()
            process.join()


def _context() -> multiprocessing.context.BaseContext:
    """Processes begin as forks of one that has imported what takes seconds and is given no work: neither CUDA nor
    OpenMP's threads survive a fork of this one. Our own modules it must not import: Python 3.11's looks for them in the
    environment and not in this program's `sys.path`, and there may be another clone's."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    known = [name for name in LARGE if name in sys.modules]
    # PyTorch imports its compiler with the first optimizer, compiled or not, and takes a second.
    context.set_forkserver_preload([*known, "torch._dynamo"] if "torch" in known else known)
    return context


def _start(process: BaseProcess) -> None:
    """Start a process, again where the fork server is killed meanwhile: multiprocessing replaces one that is dead.

    Raises:
        UserError: it is killed each time.
    """
    for left in reversed(range(STARTS)):
        try:
            process.start()
            break
        except (EOFError, ConnectionError) as error:
            if not left:
                raise UserError(
                    "no process for the work can be started, because the one that starts them was ended "
                    f"{STARTS} times ({type(error).__name__}): run the same command again to go on"
                ) from None
            time.sleep(0.5)  # until it is seen to be dead


@contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """Ctrl-C reaches the whole group, and the parent ends its processes: those that are started in this block never
    hear it. The parent hears it when the block ends."""
    if threading.current_thread() is not threading.main_thread():  # no other one may change it, or needs to
        yield
        return
    resource_tracker.ensure_running()  # else the first start does this, and lets the signal through again
    heard: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: heard.append(number))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # is inherited, as a handler is not
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, before)
        if heard:
            signal.raise_signal(signal.SIGINT)


def _work(serve: Callable[[], Callable[[Any], Records]], pipe: Connection, environment: dict[str, str]) -> None:
    os.environ.clear()  # that of the time when the first process began
    os.environ.update(environment)
    first_to_go = Path("/proc/self/oom_score_adj")  # Linux: when memory runs out take us and not our parent
    if first_to_go.exists():
        first_to_go.write_text("1000")
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        records_of = serve()
        while True:
            records, answer = records_of(_heard(pipe)), None
            with suppress(StopIteration):
                while True:
                    pipe.send((RECORD, records.send(answer)))
                    answer = _heard(pipe)
            pipe.send((END, None))
    except _NobodyThere:
        return
    except UserError as error:
        pipe.send((ERROR, error))
    except Exception as error:
        said = of_the_disk(error) if isinstance(error, OSError) else None
        pipe.send((ERROR, UserError(said) if said else traceback.format_exc()))


class _NobodyThere(Exception):
    """Nothing is left to do."""


def _heard(pipe: Connection) -> Any:
    try:
        return pipe.recv()
    except (EOFError, ConnectionError):
        raise _NobodyThere from None


def _end_with_parent() -> None:
    # A parent that was killed cannot end its processes: they would go on writing beside those of the next one.
    multiprocessing.parent_process().join()
    os._exit(1)
