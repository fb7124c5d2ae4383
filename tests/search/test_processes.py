"""The search with real trials in real processes, some of which are killed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from glassbox.core.errors import UserError
from glassbox.data.store import Split
from glassbox.search import tuning
from glassbox.search.outcome import Trial
from glassbox.search.trainer import Ended, Trainer
from glassbox.training.records import Epoch
from tests.execution.test_workers import children, processes
from tests.searches import (
    PLACE,
    InFolder,
    KilledInTheSecond,
    KilledWithItsServer,
    attempts,
    black_and_white,
    essence,
    search_of,
)


class Meeting(InFolder):
    """The first two trials wait for each other: they can only end side by side."""

    def epochs(self, number, *rest):
        if number in (0, 1):
            (self.folder / f"{number}.here").touch()
            deadline = time.monotonic() + 100
            while not all((self.folder / f"{other}.here").exists() for other in (0, 1)):
                if time.monotonic() > deadline:
                    raise TimeoutError("the other worker did not come")
                time.sleep(0.05)
        yield from super().epochs(number, *rest)


class KilledAtTheEnd(Trainer):
    """The process of the second trial does not come to say that it has ended, that of the third says so, but not that
    this was all."""

    def records(self, number, train, validation):
        records, answer = super().records(number, train, validation), None
        while not isinstance(record := records.send(answer), Ended):
            answer = yield record
        if number == 1 and not (mark := Path(os.environ["MARKS"]) / "1").exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        yield record
        if number == 2:
            os.kill(os.getpid(), signal.SIGKILL)


@dataclass
class Killing:
    """Reads the data, but the first `times` processes that try to are killed; with 0, none has the memory."""

    folder: Path
    times: int

    def __call__(self, split: str) -> Split:
        if self.times == 0:
            raise MemoryError("no room")
        if len(list(self.folder.glob("*.killed"))) < self.times:
            (self.folder / f"{os.getpid()}.killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return black_and_white(split)


class WrongInTheSecond(Trainer):
    def epochs(self, number, *rest):
        if number == 1:
            raise KeyError("an error of the program")
        yield from super().epochs(number, *rest)


class OutOfMemory(Trainer):
    def epochs(self, number, *rest):
        if number == 1:
            torch.empty(10**15)  # what the CPU's allocator raises
        if number == 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        if number == 3:
            raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")
        yield from super().epochs(number, *rest)


@contextmanager
def threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def one_thread():
    with threads(1):
        yield


@pytest.fixture
def two_threads():
    with threads(2):
        yield


def finished(records) -> list[Trial]:
    return [record for _, record in records if isinstance(record, Trial)]


def test_a_real_trial_trains_the_network(params, tmp_path):
    made = search_of(Trainer, params, tmp_path, n_trials=1)
    records = [record for _, record in made.run(black_and_white)]
    assert [type(record) for record in records] == [Epoch] * (len(records) - 1) + [Trial]
    assert records[-1].curve == [record.validation_accuracy for record in records[:-1]]


def test_two_workers_share_a_search(params, tmp_path, two_threads):
    made = search_of(Meeting, params, tmp_path, workers=2, n_trials=5)
    records = list(made.run(black_and_white))
    numbers = [trial.number for trial in finished(records)]
    assert sorted(numbers) == [0, 1, 2, 3, 4] == [trial.number for trial in made.trials()]
    for trial in made.trials():
        curve = [r.validation_accuracy for n, r in records if n == trial.number and isinstance(r, Epoch)]
        assert curve == trial.curve
    assert list(search_of(Meeting, params, tmp_path, workers=2, n_trials=5).run(black_and_white)) == []


@pytest.mark.parametrize("workers", [1, 2])
def test_a_worker_that_is_killed_costs_its_trial_only(params, tmp_path, two_threads, workers):
    made = search_of(KilledInTheSecond, params, tmp_path, workers=workers, n_trials=4)
    records = list(made.run(black_and_white))
    states = {trial.number: trial.state for trial in made.trials()}
    assert sorted(states) == [0, 1, 2, 3]
    assert [number for number, state in states.items() if state == "failed"] == [1]
    lost = made.trials()[1]
    assert lost.reason == "its process was ended by SIGKILL, as the system does when memory runs out"
    assert len(list(tmp_path.glob("*.killed"))) == 3
    assert len(lost.curve) == 1
    assert lost.seconds > 0
    assert "optimizer" in lost.params
    assert (1, lost) in records
    assert made.begin() == []  # and it is not tried again


def test_a_trial_killed_with_the_fork_server_is_begun_again_and_the_history_is_that_of_a_search_in_peace(
    params, tmp_path
):
    made = search_of(KilledWithItsServer, params, tmp_path / "killed", n_trials=4)
    records = list(made.run(black_and_white))
    whole = search_of(Trainer, params, tmp_path / "whole", n_trials=4)
    list(whole.run(black_and_white))
    assert essence(made.trials()) == essence(whole.trials())
    assert essence(finished(records)) == essence(whole.trials())
    assert len(attempts(made, 1)) == 2


def test_a_worker_killed_after_its_trial_costs_nothing(params, tmp_path, monkeypatch):
    monkeypatch.setenv("MARKS", str(tmp_path))
    made = search_of(KilledAtTheEnd, params, tmp_path / "killed", n_trials=4)
    records = list(made.run(black_and_white))
    whole = search_of(Trainer, params, tmp_path / "whole", n_trials=4)
    list(whole.run(black_and_white))
    assert essence(finished(records)) == essence(whole.trials())
    assert [len(attempts(made, number)) for number in range(4)] == [1, 2, 1, 1]


def test_a_worker_killed_before_its_trial_is_replaced(params, tmp_path):
    made = search_of(Trainer, params, tmp_path / "search", n_trials=2)
    list(made.run(Killing(tmp_path, times=2)))
    assert [trial.state == "failed" for trial in made.trials()] == [False, False]


def test_workers_killed_again_and_again_end_the_search(params, tmp_path):
    made = search_of(Trainer, params, tmp_path / "search", n_trials=2)
    with pytest.raises(UserError, match=r"trial 0 cannot begin: 3 times its process was ended by SIGKILL.*runs out$"):
        list(made.run(Killing(tmp_path, times=9)))
    assert len(list(tmp_path.glob("*.killed"))) == 3
    with pytest.raises(UserError, match=r"the images do not fit in memory 1 times \(tune.workers\): no room"):
        list(made.run(Killing(tmp_path, times=0)))
    list(made.run(black_and_white))
    assert [trial.number for trial in made.trials()] == [0, 1]


def test_changed_source_files_do_not_mix_in_one_search(params, tmp_path):
    made = search_of(Trainer, params, tmp_path, n_trials=2)
    made.code = "that of files which were changed since"
    with pytest.raises(UserError, match="source files of the search were changed"):
        list(made.run(black_and_white))


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_of_the_program_is_no_failed_trial(params, tmp_path, two_threads, workers):
    made = search_of(WrongInTheSecond, params, tmp_path, workers=workers, n_trials=4)
    with pytest.raises(RuntimeError, match=r"(?s)^1: .*KeyError: 'an error of the program'"):
        list(made.run(black_and_white))
    assert 1 not in [trial.number for trial in made.trials()]


def test_a_trial_that_runs_out_of_memory_is_passed_over(params, tmp_path):
    made = search_of(OutOfMemory, params, tmp_path, n_trials=5)
    list(made.run(black_and_white))
    failed = [trial.state == "failed" for trial in made.trials()]
    assert failed[:4] == [False, True, True, True]
    assert len(failed) == 5
    assert made.trials()[1].reason.startswith("out of memory: [enforce fail")
    assert made.trials()[2].reason == "out of memory: CUDA out of memory"
    assert made.trials()[3].reason.startswith("out of memory: CUDA error: CUBLAS_STATUS_ALLOC_FAILED")


class Settled(Trainer):
    """The seconds of an epoch tell whether its process only runs deterministic algorithms."""

    def epochs(self, *arguments):
        for epoch in super().epochs(*arguments):
            yield replace(epoch, seconds=float(torch.are_deterministic_algorithms_enabled()))


@pytest.mark.parametrize("deterministic", [False, True])
def test_a_worker_is_as_deterministic_as_its_parent(params, tmp_path, deterministic):
    made = search_of(Settled, params, tmp_path, place=replace(PLACE, deterministic=deterministic), n_trials=1)
    epochs = [record.seconds for _, record in made.run(black_and_white) if isinstance(record, Epoch)]
    assert set(epochs) == {float(deterministic)}


def test_no_more_trials_at_once_than_cores(params, tmp_path, two_threads):
    assert search_of(Trainer, params, tmp_path, workers=8).at_once == 2
    assert search_of(Trainer, params, tmp_path, workers=1).at_once == 1


# A search in a process of its own, to be killed; slow enough to be killed within a trial.
SCRIPT = """
import sys, time
import torch
from glassbox import config; from glassbox.search.trainer import Trainer
from glassbox.config import parameters
from tests.searches import black_and_white, search_of

class Slow(Trainer):
    def epochs(self, *arguments):
        for epoch in super().epochs(*arguments):
            time.sleep(float(sys.argv[2]))
            yield epoch

if __name__ == "__main__":
    workers = int(sys.argv[3])
    torch.set_num_threads(workers)
    params = parameters.read("params.yaml")
    changes = {"n_trials": 4, "startup_trials": 1, "epochs": 3, "workers": workers}
    for number, record in search_of(Slow, params, sys.argv[1], **changes).run(black_and_white):
        print(number, type(record).__name__, flush=True)
"""


@pytest.fixture
def process(tmp_path):
    """Start the script in a folder; whatever is left of it is killed at the end."""
    (tmp_path / "search.py").write_text(SCRIPT)
    root = Path(__file__).resolve().parents[2]
    started = []

    def start(folder: str, pause: float, workers: int) -> subprocess.Popen:
        command = [sys.executable, tmp_path / "search.py", tmp_path / folder, str(pause), str(workers)]
        paths = {"PYTHONPATH": f"{root}{os.pathsep}{root / 'src'}"}
        started.append(
            subprocess.Popen(
                command, cwd=root, env=os.environ | paths, stdout=subprocess.PIPE, text=True, start_new_session=True
            )
        )
        return started[-1]

    yield start
    for one in started:
        one.kill()
        one.wait()
        one.stdout.close()


def slow(params, folder: Path, workers: int) -> tuning.Search:
    """The search of the script, in peace."""
    return search_of(Trainer, params, folder, n_trials=4, startup_trials=1, epochs=3, workers=workers)


def test_a_search_killed_in_a_trial_ends_as_the_uninterrupted_one(process, params, tmp_path, one_thread):
    list((whole := slow(params, tmp_path / "whole", 1)).run(black_and_white))
    for number in (0, 2):  # the second kill is past the random trials
        run = process("cut", 0.5, 1)
        for line in run.stdout:
            if line == f"{number} Epoch\n":
                break
        time.sleep(0.2)  # into the next epoch
        run.send_signal(signal.SIGKILL)
        run.wait()
    list((cut := slow(params, tmp_path / "cut", 1)).run(black_and_white))
    assert essence(cut.trials()) == essence(whole.trials())
    assert len(cut.trials()) == 4
    assert [trial.state.name for trial in cut.study.get_trials()].count("FAIL") == 2


def test_workers_do_not_outlive_their_search(process, params, tmp_path, two_threads):
    run = process("search", 0.2, 2)
    assert run.stdout.readline().endswith("Epoch\n")
    assert len(children(run.pid)) == 2
    run.send_signal(signal.SIGKILL)
    run.wait()
    deadline = time.monotonic() + 20
    while processes(run.pid):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    list((made := slow(params, tmp_path / "search", 2)).run(black_and_white))
    assert [trial.number for trial in made.trials()] == [0, 1, 2, 3]


def test_memory_and_open_files_stay_flat_over_200_trials(params, tmp_path):
    """Of the process that trains and of the one that waits for it: a search may run for days."""
    import psutil

    made = search_of(Trainer, params, tmp_path, n_trials=200, epochs=1, startup_trials=180)
    taken = []
    for _, record in made.run(black_and_white):
        if isinstance(record, Trial) and record.number in (49, 99, 149, 199):
            here = psutil.Process()
            (worker,) = children()
            taken.append([(p.memory_info().rss / 2**20, p.num_fds(), p.num_threads()) for p in (here, worker)])
    assert len(made.trials()) == 200
    for process in zip(*taken, strict=True):
        memory, handles, threads = zip(*process, strict=True)
        # What Optuna keeps of 150 trials, and of a network whose size the trials draw.
        assert max(memory[1:]) - memory[0] < 30, memory
        assert set(handles) == {handles[0]}
        assert set(threads) == {threads[0]}
