"""Work in processes of this machine, some of which are killed."""

import gc
import os
import signal
import subprocess
import sys
import time
from collections import deque
from functools import partial
from multiprocessing import forkserver
from pathlib import Path

import psutil
import pytest

from glassbox.core.errors import UserError
from glassbox.execution import workers
from tests import queues


def squares():
    def records(item):
        yield item
        yield item * item

    return records


def dying(exit_code):
    """The process ends after the first record of item 1."""

    def records(item):
        yield item
        if item == 1:
            os._exit(exit_code) if exit_code >= 0 else os.kill(os.getpid(), -exit_code)
        yield -item

    return records


def garbling():
    """The process ends within the record of item 1."""

    def records(item):
        if item == 1:
            pipe = next(o for o in gc.get_objects() if type(o).__name__ == "Connection" and o.writable)
            os.write(pipe.fileno(), (1000).to_bytes(4, "big") + b"the first of a thousand bytes")
            os._exit(1)
        yield item

    return records


def failing(error):
    def records(item):
        raise error
        yield

    return records


def unready():
    raise UserError("data.path is missing")


def test_records_come_in_order_and_are_answered():
    todo = deque([3, 5])
    assert list(workers.each(queues.sums, todo, 1, queues.answer)) == queues.RECORDS
    assert not todo
    assert list(workers.each(unready, todo, 2)) == [], "no process is started for nothing"


@pytest.mark.parametrize(
    ("exit_code", "message"),
    [
        (-signal.SIGKILL, "its process was ended by SIGKILL, as the system does when memory runs out"),
        (-signal.SIGSEGV, "its process was ended by SIGSEGV"),
        (7, "its process ended with exit code 7"),
        (-40, "its process was ended by signal 40"),
    ],
)
def test_a_process_that_ends_within_an_item_is_reported_and_replaced(exit_code, message):
    died = workers.Died(exit_code)
    records = list(workers.each(partial(dying, exit_code), deque([0, 1, 2]), 1))
    assert records == [(0, 0), (0, 0), (1, 1), (1, died), (2, 2), (2, -2)]
    assert str(died) == message
    assert died.by_itself == (exit_code >= 0)


def test_a_process_that_ends_within_a_record_is_reported():
    assert list(workers.each(garbling, deque([0, 1, 2]), 1)) == [(0, 0), (1, workers.Died(1)), (2, 2)]


def orphaned(also_itself):
    """Item 1 kills the fork server, and perhaps its process."""

    def records(item):
        yield item
        if item == 1:
            os.kill(os.getppid(), signal.SIGKILL)
            if also_itself:
                os.kill(os.getpid(), signal.SIGKILL)
        yield -item

    return records


@pytest.mark.parametrize(
    ("serve", "kind", "message"),
    [
        (partial(failing, KeyError("gone")), RuntimeError, r"(?s)^2: Traceback.*KeyError: 'gone'"),
        (partial(failing, EOFError("of a file")), RuntimeError, r"(?s)^2: Traceback.*EOFError: of a file"),
        (partial(failing, UserError("no")), UserError, "^no$"),
        (unready, UserError, r"^data.path is missing$"),
    ],
)
def test_errors_reach_the_parent(serve, kind, message):
    with pytest.raises(kind, match=message):
        list(workers.each(serve, deque([2]), 2))


def sleeping():
    def records(item):
        time.sleep(60)
        yield item

    return records


SERVER = "multiprocessing.forkserver"  # in the command line of the fork server and its forks


def processes(group: int) -> list[str]:
    """The living processes of `each` in a process group, with their fork server."""
    command = ["ps", "-ww", "-o", "stat=", "-o", "args=", "-g", str(group)]
    listed = subprocess.run(command, capture_output=True, text=True).stdout.splitlines()
    return [line for line in listed if SERVER in line and not line.startswith("Z")]


def children(of: int | None = None) -> list[psutil.Process]:
    """The processes of `each` in a process, by default this one."""
    servers = [child for child in psutil.Process(of).children() if SERVER in " ".join(child.cmdline())]
    return [child for server in servers for child in server.children() if child.status() != psutil.STATUS_ZOMBIE]


def test_processes_end_with_their_generator():
    before = len(children())
    records = workers.each(squares, deque(range(100)), 2)
    next(records)
    assert len(children()) == before + 2
    records.close()
    assert len(children()) == before


def surroundings():
    """A variable of the environment, and whether PyTorch is imported."""

    def records(item):
        yield os.environ.get(item), "torch" in sys.modules

    return records


def test_processes_have_the_present_environment_and_pytorch(monkeypatch):
    assert "torch" in sys.modules
    for word in ("first", "second", None):
        monkeypatch.setenv("GLASSBOX_WORD", word) if word else monkeypatch.delenv("GLASSBOX_WORD")
        assert list(workers.each(surroundings, deque(["GLASSBOX_WORD"]), 1)) == [("GLASSBOX_WORD", (word, True))]


def test_ctrl_c_prints_one_line_and_leaves_nothing_running(tmp_path):
    script = """
import sys, time
from collections import deque
from glassbox.core import errors
from glassbox.execution import workers
from tests.execution.test_workers import sleeping
errors.run(lambda: print(list(workers.each(sleeping, deque(range(4)), 2))))
"""
    (tmp_path / "script.py").write_text("if __name__ == '__main__':" + script.replace("\n", "\n    "))
    root = Path(__file__).resolve().parents[2]
    paths = {"PYTHONPATH": f"{root}{os.pathsep}{root / 'src'}"}
    for delay in (0.15, 2.0):  # while processes start, and while they work
        run = subprocess.Popen(
            [sys.executable, tmp_path / "script.py"], env=os.environ | paths,
            stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        deadline = time.monotonic() + 60
        while not processes(run.pid):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(delay)
        os.killpg(run.pid, signal.SIGINT)
        _, printed = run.communicate(timeout=60)
        assert printed == "stopped by the user; run the same command again to go on\n"
        assert run.returncode == 130
        assert not processes(run.pid)


@pytest.fixture
def light(monkeypatch):
    """A fork server of the test's own, which starts fast, without large packages; kills it when called."""

    def end():
        if forkserver._forkserver._forkserver_pid is not None:
            os.kill(forkserver._forkserver._forkserver_pid, signal.SIGKILL)
            os.waitid(os.P_PID, forkserver._forkserver._forkserver_pid, os.WEXITED | os.WNOWAIT)

    monkeypatch.setattr(workers, "LARGE", ())
    end()
    yield end
    end()


@pytest.mark.parametrize("also_itself", [False, True])
def test_a_fork_server_that_is_killed_is_replaced(also_itself, light):
    died = workers.Died(None)
    records = list(workers.each(partial(orphaned, also_itself), deque([0, 1, 2]), 1))
    assert records == [(0, 0), (0, 0), (1, 1), (1, died if also_itself else -1), (2, 2), (2, -2)]
    assert not died.by_itself
    assert str(died) == "its process ended, and so did the one that had started it"


def test_a_fork_server_that_is_killed_whenever_a_process_starts_is_given_up(monkeypatch, light):
    read, killed = forkserver.read_signed, set()

    def killing(fd):
        killed.add(forkserver._forkserver._forkserver_pid)
        light()
        return read(fd)

    monkeypatch.setattr(forkserver, "read_signed", killing)
    with pytest.raises(UserError, match=r"^no process can be started, .* killed 3 times \(\w+\): run the same command"):
        list(workers.each(squares, deque([3]), 1))
    assert len(killed) == workers.STARTS, "each time another one"
