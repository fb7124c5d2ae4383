"""The search with real trials in real processes, some of which are killed."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from glassbox.core.errors import UserError
from glassbox.data.store import Split
from glassbox.search.outcome import Trial
from glassbox.search.trainer import Trainer
from glassbox.training.records import Epoch
from tests.execution.test_workers import processes
from tests.searches import PLACE, InFolder, KilledInTheSecond, black_and_white, essence, search_of


class Settled(Trainer):
    """The seconds of an epoch are whether its process only runs deterministic algorithms."""

    def epochs(self, *arguments):
        for epoch in super().epochs(*arguments):
            yield replace(epoch, seconds=float(torch.are_deterministic_algorithms_enabled()))


@pytest.mark.parametrize("deterministic", [False, True])
def test_a_trial_trains_the_network_with_the_settings_of_its_parent(params, tmp_path, deterministic):
    search = search_of(Settled, params, tmp_path, place=replace(PLACE, deterministic=deterministic), n_trials=1)
    *epochs, trial = [record for _, record in search.run(black_and_white)]
    assert [type(epoch) for epoch in epochs] == [Epoch] * len(trial.curve)
    assert trial.curve == [epoch.validation_accuracy for epoch in epochs]
    assert {epoch.seconds for epoch in epochs} == {float(deterministic)}


class Meeting(InFolder):
    """The first two trials wait for each other: they only end if they run in parallel."""

    def epochs(self, number, *rest):
        if number in (0, 1):
            (self.folder / f"{number}.here").touch()
            deadline = time.monotonic() + 100
            while not all((self.folder / f"{other}.here").exists() for other in (0, 1)):
                if time.monotonic() > deadline:
                    raise TimeoutError("the other worker did not come")
                time.sleep(0.05)
        yield from super().epochs(number, *rest)


def test_two_workers_share_a_search(params, tmp_path):
    search = search_of(Meeting, params, tmp_path, workers=2, threads=2, n_trials=5)
    records = list(search.run(black_and_white))
    finished = [trial.number for _, trial in records if isinstance(trial, Trial)]
    assert sorted(finished) == [0, 1, 2, 3, 4] == [trial.number for trial in search.trials()]
    for trial in search.trials():
        curve = [r.validation_accuracy for n, r in records if n == trial.number and isinstance(r, Epoch)]
        assert curve == trial.curve
    assert list(search_of(Meeting, params, tmp_path, workers=2, threads=2, n_trials=5).run(black_and_white)) == []


def test_a_trial_whose_process_is_killed_three_times_has_failed(params, tmp_path):
    search = search_of(KilledInTheSecond, params, tmp_path, workers=2, threads=2, n_trials=4)
    records = list(search.run(black_and_white))
    assert [trial.number for trial in search.trials()] == [0, 1, 2, 3]
    assert [trial.number for trial in search.trials() if trial.state == "failed"] == [1]
    failed = search.trials()[1]
    assert failed.reason == "its process was ended by SIGKILL, as the system does when memory runs out"
    assert len(list(tmp_path.glob("*.killed"))) == 3
    assert len(failed.curve) == 1
    assert failed.seconds > 0
    assert "optimizer" in failed.params
    assert (1, failed) in records
    assert search.begin() == [], "it is not repeated again"


@dataclass
class Killing:
    """Reads the data, but the first processes that do so are killed."""

    folder: Path
    times: int

    def __call__(self, split: str) -> Split:
        if len(list(self.folder.glob("*.killed"))) < self.times:
            (self.folder / f"{os.getpid()}.killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return black_and_white(split)


def test_processes_killed_before_their_trial_are_replaced_but_not_for_ever(params, tmp_path):
    search, killing = search_of(Trainer, params, tmp_path / "search", n_trials=2), Killing(tmp_path, times=5)
    with pytest.raises(UserError, match=r"trial 0 cannot begin: 3 times its process was ended by SIGKILL.*runs out$"):
        list(search.run(killing))
    assert len(list(tmp_path.glob("*.killed"))) == 3
    list(search.run(killing))
    assert len(list(tmp_path.glob("*.killed"))) == 5
    assert [trial.state == "failed" for trial in search.trials()] == [False, False]


# A search in a process of its own, slow enough to be killed in a trial.
SCRIPT = """
import sys, time
from glassbox.config import parameters
from glassbox.search.trainer import Trainer
from tests.searches import black_and_white, search_of

class Slow(Trainer):
    def epochs(self, *arguments):
        for epoch in super().epochs(*arguments):
            time.sleep(0.2)
            yield epoch

if __name__ == "__main__":
    params = parameters.read("params.yaml")
    search = search_of(Slow, params, sys.argv[1], threads=1, n_trials=4, startup_trials=1, epochs=3)
    for number, record in search.run(black_and_white):
        print(number, type(record).__name__, flush=True)
"""


def test_a_search_killed_in_a_trial_ends_its_workers_and_resumes_with_the_same_history(params, tmp_path):
    (tmp_path / "search.py").write_text(SCRIPT)
    root = Path(__file__).resolve().parents[2]
    paths = {"PYTHONPATH": f"{root}{os.pathsep}{root / 'src'}"}
    options = {"threads": 1, "n_trials": 4, "startup_trials": 1, "epochs": 3}
    with subprocess.Popen(
        [sys.executable, tmp_path / "search.py", tmp_path / "killed"],
        cwd=root, env=os.environ | paths, stdout=subprocess.PIPE, text=True, start_new_session=True,
    ) as killed:  # fmt: skip
        assert "2 Epoch\n" in killed.stdout  # the third trial is the first one that TPE samples
        assert len(processes(killed.pid)) > 1
        killed.kill()
    deadline = time.monotonic() + 20
    while processes(killed.pid):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    resumed, uninterrupted = (search_of(Trainer, params, tmp_path / name, **options) for name in ("killed", "whole"))
    list(resumed.run(black_and_white))
    list(uninterrupted.run(black_and_white))
    assert essence(resumed.trials()) == essence(uninterrupted.trials())
    assert [trial.state.name for trial in resumed.study.get_trials()].count("FAIL") == 1
