import os
import signal
import time
from collections import deque
from functools import partial
from pathlib import Path

import pytest

from glassbox import workers
from glassbox.errors import UserError


def squares():
    return lambda item: iter([item, item * item])


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
    ],
)
def test_a_process_that_ends_within_an_item_is_told_and_replaced(how, words):
    found = list(workers.each(partial(dying, how), deque([0, 1, 2]), 1))
    assert found == [(0, 0), (0, 0), (1, 1), (1, workers.Died(how)), (2, 2), (2, -2)]
    assert str(found[3][1]) == words


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


def children() -> set[str]:
    return {task for path in Path("/proc/self/task").glob("*/children") for task in path.read_text().split()}


def test_processes_end_when_nobody_wants_more():
    before = children()
    records = workers.each(squares, deque(range(100)), 2)
    next(records)
    assert len(children() - before) >= 2
    records.close()
    # Python's own tracker of shared resources may stay.
    commands = [Path(f"/proc/{child}/cmdline").read_bytes() for child in children() - before]
    assert not [command for command in commands if b"spawn_main" in command]
