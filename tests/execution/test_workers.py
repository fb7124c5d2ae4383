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


def meeting(folder: Path):
    """Items 0 and 1 wait for each other."""

    def records(item):
        (folder / f"{item}.here").touch()
        deadline = time.monotonic() + 60
        while not all((folder / f"{other}.here").exists() for other in (0, 1)):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield item

    return records


def dying(how):
    """Item 1 gives one record and ends its process."""

    def records(item):
        yield item
        if item == 1:
            os._exit(how) if how >= 0 else os.kill(os.getpid(), -how)
        yield -item

    return records


def garbling():
    """Item 1 ends its process within a record."""

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


def test_every_item_gives_its_records_in_order():
    todo = deque([3, 4, 5])
    assert list(workers.each(squares, todo, 1)) == [(3, 3), (3, 9), (4, 4), (4, 16), (5, 5), (5, 25)]
    assert not todo


def test_records_are_answered():
    answer = lambda item, record: record if record < 20 else None  # noqa: E731
    found = list(workers.each(queues.sums, deque([3, 5]), 1, answer))
    assert found == [(3, 3), (3, 6), (3, 12), (3, 24), (5, 5), (5, 10), (5, 20)]


def test_items_are_worked_on_side_by_side(tmp_path):
    found = sorted(workers.each(partial(meeting, tmp_path), deque([0, 1, 2]), 2))
    assert found == [(0, 0), (1, 1), (2, 2)]


def test_no_process_is_made_for_nothing():
    assert list(workers.each(unready, deque(), 2)) == []


@pytest.mark.parametrize(
    ("how", "words"),
    [
        (-signal.SIGKILL, "its process was ended by SIGKILL, as the system does when memory runs out"),
        (-signal.SIGSEGV, "its process was ended by SIGSEGV"),
        (7, "its process ended with exit code 7"),
        (-40, "its process was ended by signal 40"),
    ],
)
def test_a_process_that_ends_within_an_item_is_told_and_replaced(how, words):
    found = list(workers.each(partial(dying, how), deque([0, 1, 2]), 1))
    assert found == [(0, 0), (0, 0), (1, 1), (1, workers.Died(how)), (2, 2), (2, -2)]
    assert str(found[3][1]) == words


def test_a_process_that_ends_within_a_record_is_told():
    found = list(workers.each(garbling, deque([0, 1, 2]), 1))
    assert found == [(0, 0), (1, workers.Died(1)), (2, 2)]


def orphaned(also_itself):
    """Item 1 ends the fork server of its process, and perhaps its process."""

    def records(item):
        yield item
        if item == 1:
            os.kill(os.getppid(), signal.SIGKILL)
            if also_itself:
                os.kill(os.getpid(), signal.SIGKILL)
        yield -item

    return records


def test_an_item_can_be_put_back():
    todo, found = deque([1]), []
    for _, record in workers.each(partial(dying, -signal.SIGKILL), todo, 1):
        found.append(record)
        if isinstance(record, workers.Died) and len(found) < 4:
            todo.append(1)
    assert found == [1, workers.Died(-9), 1, workers.Died(-9)]


def test_an_error_of_the_program_comes_with_its_traceback():
    with pytest.raises(RuntimeError, match=r"(?s)^2: Traceback.*KeyError: 'gone'"):
        list(workers.each(partial(failing, KeyError("gone")), deque([2]), 1))


def test_a_users_error_comes_as_it_is():
    with pytest.raises(UserError, match=r"^data.path is missing$"):
        list(workers.each(unready, deque([0]), 2))
    with pytest.raises(UserError, match=r"^no$"):
        list(workers.each(partial(failing, UserError("no")), deque([0]), 1))


def sleeping():
    def records(item):
        time.sleep(60)
        yield item

    return records


SERVER = "multiprocessing.forkserver"  # is in the command of the process that those of `each` are forks of, and theirs


def processes(group: int) -> list[str]:
    """Those not yet gone of the processes that `each` made in a group, and of the one that they are forks of."""
    command = ["ps", "-ww", "-o", "stat=", "-o", "args=", "-g", str(group)]
    listed = subprocess.run(command, capture_output=True, text=True).stdout.splitlines()
    return [line for line in listed if SERVER in line and not line.startswith("Z")]


def children(of: int | None = None) -> list[psutil.Process]:
    """What `each` made in a process, by itself this one."""
    servers = [one for one in psutil.Process(of).children() if SERVER in " ".join(one.cmdline())]
    return [child for server in servers for child in server.children() if child.status() != psutil.STATUS_ZOMBIE]


def test_processes_end_when_nobody_wants_more():
    before = len(children())
    records = workers.each(squares, deque(range(100)), 2)
    next(records)
    assert len(children()) == before + 2
    records.close()
    assert len(children()) == before


def surroundings():
    """What its process has of the environment, and whether that has imported PyTorch."""

    def records(item):
        yield os.environ.get(item), "torch" in sys.modules

    return records


def test_processes_have_what_this_one_has_now(monkeypatch):
    """Its environment, and PyTorch, which nothing here imports."""
    assert "torch" in sys.modules
    for word in ("first", "second"):
        monkeypatch.setenv("GLASSBOX_WORD", word)
        assert list(workers.each(surroundings, deque(["GLASSBOX_WORD"]), 1)) == [("GLASSBOX_WORD", (word, True))]
    monkeypatch.delenv("GLASSBOX_WORD")
    assert list(workers.each(surroundings, deque(["GLASSBOX_WORD"]), 1)) == [("GLASSBOX_WORD", (None, True))]


def test_ctrl_c_is_said_once_and_leaves_nothing_running(tmp_path):
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
    for delay in (0.15, 0.4, 2.0):  # while processes start, and while they work
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
        _, said = run.communicate(timeout=60)
        assert said == "stopped by the user; run the same command again to go on\n"
        assert run.returncode == 130
        assert not processes(run.pid)


def test_ctrl_c_while_a_process_starts_is_heard_once_it_has_started():
    begun, ask = False, "import signal; print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ()))"
    with pytest.raises(KeyboardInterrupt), workers._deaf_to_ctrl_c():
        os.kill(os.getpid(), signal.SIGINT)
        deaf = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
        begun = True
    assert begun
    assert deaf.stdout == "True\n"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


@pytest.fixture
def light(monkeypatch):
    """A fork server that starts at once, without large packages, and takes no work of other tests."""

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
    found = list(workers.each(partial(orphaned, also_itself), deque([0, 1, 2]), 1))
    lost = workers.Died(None) if also_itself else -1
    assert found == [(0, 0), (0, 0), (1, 1), (1, lost), (2, 2), (2, -2)]
    assert not workers.Died(None).by_itself
    assert not workers.Died(-9).by_itself
    assert workers.Died(1).by_itself
    assert str(workers.Died(None)) == "its process ended, and so did the one that had started it"


@pytest.mark.parametrize("times", [1, workers.STARTS])
def test_a_fork_server_killed_while_a_process_starts_is_replaced(monkeypatch, light, times):
    read, killed = forkserver.read_signed, []

    def killing(fd):
        if len(killed) < times:
            killed.append(forkserver._forkserver._forkserver_pid)
            light()
        return read(fd)

    monkeypatch.setattr(forkserver, "read_signed", killing)
    if times == 1:
        assert list(workers.each(squares, deque([3]), 1)) == [(3, 3), (3, 9)]
    else:
        with pytest.raises(
            UserError, match=r"^no process for the work can be started, .* 3 times \(\w+\): run the same"
        ):
            list(workers.each(squares, deque([3]), 1))
    assert len(set(killed)) == times
