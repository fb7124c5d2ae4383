"""Work in separate processes: where one is killed, neither this program nor the work of the others is lost."""

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
UNKNOWN = 255  # multiprocessing's exit code of a process whose fork server was killed
STARTS = 3  # attempts to start a process, while the fork server is killed


@dataclass(frozen=True)
class Died:
    """The process of an item ended in the middle of it.

    Attributes:
        exit_code: exit code of the process; -N if signal N ended it; None = unknown, as its fork server was killed too.
    """

    exit_code: int | None

    @property
    def by_itself(self) -> bool:
        """Whether it exited, and was not ended by a signal."""
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
    """The answer to a record that needs none."""


def each(
    serve: Callable[[], Callable[[Any], Records]],
    todo: deque,
    at_once: int,
    answer: Callable[[Any, Any], Any] = no_answer,
) -> Iterator[tuple[Any, Any]]:
    """Work off a queue.

    Args:
        serve: called once in each process, to set it up; returns a function that yields the records of an item. Sent
            there by pickle.
        todo: items, taken from the left whenever a process is free. The caller may put one back.
        at_once: processes at most.
        answer: called in this process with an item and each of its records; its result is sent to the generator of the
            records.

    Yields:
        (item, record) in the order in which records arrive; (item, `Died`) if its process ended, which is replaced as
        long as there is work.

    Raises:
        UserError: `serve` or an item raised it.
        RuntimeError: they raised something else; the message holds the traceback.
    """
    context = _context()
    busy: dict[Connection, tuple[BaseProcess, Any]] = {}

    def assign(pipe: Connection, process: BaseProcess) -> None:
        busy[pipe] = process, todo.popleft()
        with suppress(ConnectionError):  # it has just died, which the next read of the pipe shows
            pipe.send(busy[pipe][1])

    def start() -> None:
        if todo:
            ours, theirs = context.Pipe()
            process = context.Process(target=_work, args=(serve, theirs, dict(os.environ)), daemon=True)
            with _without_ctrl_c():
                _start(process)
            theirs.close()
            assign(ours, process)

    def end(pipe: Connection) -> int | None:
        process, _ = busy.pop(pipe)
        pipe.close()
        process.join()
        return None if process.exitcode == UNKNOWN else process.exitcode

    try:
        for _ in range(at_once):
            start()
        while busy:
            for pipe in wait(list(busy)):
                process, item = busy[pipe]
                try:
                    kind, value = pipe.recv()
                except (EOFError, OSError):  # at the end of the pipe, or within a record
                    yield item, Died(end(pipe))
                    start()
                    continue
                if kind == ERROR:
                    raise value if isinstance(value, UserError) else RuntimeError(f"{item}: {value}")
                if kind == RECORD:
                    reply = answer(item, value)
                    with suppress(ConnectionError):
                        pipe.send(reply)
                    yield item, value
                elif todo:
                    assign(pipe, process)
                else:
                    end(pipe)
    finally:
        for process, _ in busy.values():
            process.kill()
            process.join()


def _context() -> multiprocessing.context.BaseContext:
    """Processes are forks of a server that has imported the large packages: neither CUDA nor OpenMP's threads survive
    a fork of this process. The server imports no module of this project: in Python 3.11 it does not use this program's
    `sys.path`, and might find those of another clone."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    loaded = [name for name in LARGE if name in sys.modules]
    # PyTorch imports its compiler with the first optimizer, compiled or not, which takes a second.
    context.set_forkserver_preload([*loaded, "torch._dynamo"] if "torch" in loaded else loaded)
    return context


def _start(process: BaseProcess) -> None:
    """Start a process, again if the fork server is killed meanwhile, which multiprocessing replaces; raises UserError
    if it is killed each time."""
    for left in reversed(range(STARTS)):
        try:
            process.start()
            break
        except (EOFError, ConnectionError) as error:
            if not left:
                raise UserError(
                    f"no process can be started, because the server that starts them was killed {STARTS} times "
                    f"({type(error).__name__}): run the same command again to resume"
                ) from None
            time.sleep(0.5)  # until it counts as dead


@contextmanager
def _without_ctrl_c() -> Iterator[None]:
    """Processes that are started in this block never receive Ctrl-C, which the terminal sends to all of them: this
    process ends them. It receives Ctrl-C itself when the block ends."""
    if threading.current_thread() is not threading.main_thread():  # only that one may set handlers, and needs to
        yield
        return
    resource_tracker.ensure_running()  # else the first start does this, and unblocks the signal
    received: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: received.append(number))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # inherited, unlike a handler
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, before)
        if received:
            signal.raise_signal(signal.SIGINT)


def _work(serve: Callable[[], Callable[[Any], Records]], pipe: Connection, environment: dict[str, str]) -> None:
    os.environ.clear()  # the environment in which the fork server was started
    os.environ.update(environment)
    score = Path("/proc/self/oom_score_adj")  # Linux: when memory runs out, kill this process and not its parent
    if score.exists():
        score.write_text("1000")
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        records_of = serve()
        while True:
            records, answer = records_of(_receive(pipe)), None
            with suppress(StopIteration):
                while True:
                    pipe.send((RECORD, records.send(answer)))
                    answer = _receive(pipe)
            pipe.send((END, None))
    except UserError as error:
        pipe.send((ERROR, error))
    except Exception as error:
        reason = of_the_disk(error) if isinstance(error, OSError) else None
        pipe.send((ERROR, UserError(reason) if reason else traceback.format_exc()))


def _receive(pipe: Connection) -> Any:
    try:
        return pipe.recv()
    except (EOFError, ConnectionError):  # the parent has closed it
        sys.exit()


def _end_with_parent() -> None:
    # A parent that was killed cannot end its processes: they would go on writing beside those of its successor.
    multiprocessing.parent_process().join()
    os._exit(1)
