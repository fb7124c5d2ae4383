import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import optuna
import pandas as pd
import pytest
import torch

from glassbox import tuning
from glassbox.compute import Place
from glassbox.data.store import Description, Split
from glassbox.errors import UserError
from glassbox.models import Spec
from glassbox.seeds import derive
from glassbox.training import Diverged, Epoch
from tests.test_workers import children, processes

PLACE = Place(torch.device("cpu"), torch.float32, 64)
KNOWN = Spec("cnn", {"batch_norm_momentum": 0.9}, "data", None)
DATA = Description("toy", ("a", "b"), 8, {}, (0, 0, 0), (1, 1, 1), False, "d" * 64)


def black_and_white(_: str) -> Split:
    """Forty images, learned in no time."""
    labels = torch.arange(40) % 2
    images = torch.zeros(40, 8, 8, 3, dtype=torch.uint8)
    images[labels == 1] = 255
    return Split(images, labels, None, torch.arange(40), None)


@pytest.fixture
def settings(params):
    update = {"n_trials": 6, "startup_trials": 2, "epochs": 4, "pruner_startup_trials": 1, "pruner_warmup_epochs": 0}
    return params.tune.model_copy(update=update)


def score(params: dict, epoch: int) -> float:
    """A made-up accuracy that depends on the drawn values and grows with the epochs."""
    return min(1.0, params["dropout_1"] * epoch / 2)


@pytest.fixture
def search(settings, params, tmp_path, monkeypatch):
    """Searches that share a folder, whose trials train nothing but report `score`."""

    def fit(self, drawn, seed, *_):
        torch.manual_seed(seed)
        for epoch in range(1, self.settings.epochs + 1):
            yield Epoch(epoch, 1.0, 0.5, 1.0, score(drawn, epoch), 0.0, 0.1, True, 0.0, 1.0, 0.5, 0.0)

    monkeypatch.setattr(tuning.Search, "_fit", fit)

    def make(folder="search", seed=0, place=PLACE, **changes):
        changed = settings.model_copy(update=changes)
        return tuning.Search(changed, KNOWN, params.augment, seed, DATA, place, tmp_path / folder)

    return make


def steps(search: tuning.Search):
    """What `Search.run` does, in this process, where a test can replace a function."""
    split = Split(torch.zeros(1, 8, 8, 3, dtype=torch.uint8), torch.zeros(1, dtype=torch.int64), None, None, None)
    for number in search.begin():
        for record in search.try_out(number, split, split):
            yield number, record


def run(search: tuning.Search) -> list[tuning.Trial]:
    for _ in steps(search):
        pass
    return search.trials()


def essence(trials):
    return [(t.number, t.state, t.value, t.params, t.curve) for t in trials]


def test_a_trial_draws_only_what_its_choices_call_for(params):
    drawn = []
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(60):
        drawn.append(tuning.suggest(study.ask(), params.tune.space, "cnn"))
    for values in drawn:
        for name, (parent, wanted) in tuning.CONDITIONS.items():
            assert (name in values) == (values[parent] == wanted)
    space = params.tune.space
    assert {values["conv1_filters"] for values in drawn} == set(space.conv1_filters)
    rates = [values["adam_lr"] for values in drawn if "adam_lr" in values]
    assert min(rates) >= space.adam_lr.low
    assert max(rates) <= space.adam_lr.high
    assert sum(rate < 3e-4 for rate in rates) > len(rates) / 4  # half of them below the middle of the log scale


def test_the_paper_space_is_the_cifar10_study():
    from glassbox import config

    space = config.load("tune.space", file="studies/cifar10-cnn.yaml")
    assert space.model_dump() == {
        "conv1_filters": (32, 64, 128), "conv1_kernel_size": (3, 5, 7), "activation_func1": ("relu", "leaky_relu"),
        "leaky_relu_alpha_1": {"low": 0.01, "high": 0.3, "log": False},
        "l2_reg_1": {"low": 1e-5, "high": 1e-2, "log": True}, "pool_size_1": (2, 3),
        "dropout_1": {"low": 0.1, "high": 0.5, "log": False},
        "conv2_filters": (64, 128, 256), "conv2_kernel_size": (3, 5, 7), "activation_func2": ("relu", "leaky_relu"),
        "leaky_relu_alpha_2": {"low": 0.01, "high": 0.3, "log": False},
        "l2_reg_2": {"low": 1e-5, "high": 1e-2, "log": True}, "pool_size_2": (2, 3),
        "dense_units_1": (64, 128, 256, 512), "dense_l2_reg_1": {"low": 1e-5, "high": 1e-2, "log": True},
        "activation_func_dense": ("relu", "leaky_relu"), "leaky_relu_alpha_3": {"low": 0.01, "high": 0.3, "log": False},
        "dense_dropout_1": {"low": 0.2, "high": 0.7, "log": False}, "optimizer": ("adam", "sgd", "rmsprop"),
        "adam_lr": {"low": 1e-5, "high": 1e-2, "log": True}, "sgd_lr": {"low": 1e-4, "high": 1e-1, "log": True},
        "sgd_momentum": {"low": 0.8, "high": 0.99, "log": False},
        "rmsprop_lr": {"low": 1e-5, "high": 1e-2, "log": True},
        "rmsprop_rho": {"low": 0.8, "high": 0.95, "log": False},
    }  # fmt: skip


def test_the_value_of_a_trial_is_its_best_epoch_and_the_best_trial_wins(search):
    trials = run(search())
    assert [trial.number for trial in trials] == list(range(6))
    for trial in trials:
        assert trial.curve == [score(trial.params, epoch) for epoch in range(1, len(trial.curve) + 1)]
        assert trial.value == max(trial.curve)
        assert (trial.state == "complete") == (len(trial.curve) == 4)
    complete = [trial for trial in trials if trial.state == "complete"]
    assert search().best() == max(complete, key=lambda trial: trial.value)


def test_a_trial_below_the_median_is_pruned(search):
    trials = run(search(n_trials=8))
    assert {trial.state for trial in trials} == {"complete", "pruned"}
    for place, trial in enumerate(trials):
        if trial.state == "pruned":
            step = len(trial.curve)
            others = [t.curve[step - 1] for t in trials[:place] if t.state == "complete"]
            assert trial.value < pd.Series(others).median()


def test_the_first_epochs_are_never_pruned(search):
    assert all(len(trial.curve) >= 3 for trial in run(search(pruner_warmup_epochs=2)))
    assert {trial.state for trial in run(search("none", pruner_warmup_epochs=4))} == {"complete"}


@pytest.mark.parametrize("stop_after", [1, 6, 13])
def test_a_search_cut_off_in_a_trial_ends_as_the_uninterrupted_one(search, stop_after):
    whole = essence(run(search("whole")))
    records = steps(search("cut"))
    for _ in range(stop_after):
        next(records)
    records.close()  # leaves its trial running, as kill -9 would
    resumed = search("cut")
    assert essence(run(resumed)) == whole
    assert search("cut").best().number == search("whole").best().number


def test_a_finished_search_does_nothing_more_and_a_longer_one_goes_on(search):
    short = run(search(n_trials=3))
    assert list(steps(search(n_trials=3))) == []
    longer = run(search(n_trials=5))
    assert essence(longer[:3]) == essence(short)
    assert essence(search(n_trials=3).trials()) == essence(short)


def test_searches_of_another_kind_or_seed_do_not_mix(search):
    first = search()
    assert search(seed=1).file != first.file
    assert search(epochs=5).file != first.file
    assert search(n_trials=99).file == first.file
    assert search(workers=2).file == search(workers=3).file != first.file
    assert search(place=Place(torch.device("cpu"), torch.bfloat16, 64)).file != first.file
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)  # another order of sums, and so other last bits
    try:
        assert search().file != first.file
    finally:
        torch.set_num_threads(threads)
    assert run(first)[0].params != run(search(seed=1))[0].params


def test_another_version_of_the_code_or_of_a_library_searches_anew(search, monkeypatch):
    first = search().file
    monkeypatch.setattr(torch, "__version__", "99.0")
    newer = search().file
    assert newer != first
    monkeypatch.setattr(tuning.training, "__file__", __file__)
    assert search().file not in (first, newer)


def test_importance_counts_the_trials_asked_for_and_no_more(search):
    run(search("short", n_trials=8))
    run(search("long", n_trials=20))
    assert search("long", n_trials=8).importances() == search("short", n_trials=8).importances()


def test_a_failed_trial_is_recorded_and_passed_over(search, monkeypatch):
    fit = tuning.Search._fit

    def sometimes(self, drawn, *rest):
        if drawn["optimizer"] == "sgd":
            raise Diverged("the loss is not a number after epoch 1")
        yield from fit(self, drawn, *rest)

    monkeypatch.setattr(tuning.Search, "_fit", sometimes)
    trials = run(search(n_trials=12))
    failed = [trial for trial in trials if trial.state == "failed"]
    assert len(trials) == 12
    assert failed
    assert all(trial.value is None and "not a number" in trial.reason for trial in failed)
    assert len(search(n_trials=12).trials()) == 12


def test_a_search_without_a_complete_trial_says_why(search, monkeypatch):
    def never(*_):
        raise Diverged("the loss is not a number")
        yield

    monkeypatch.setattr(tuning.Search, "_fit", never)
    made = search()
    run(made)
    with pytest.raises(UserError, match=r"none of the 6 trials of the search completed \(the loss is not a number\)"):
        made.best()


def test_another_network_is_searched_by_its_optimizer_alone(params):
    from glassbox.config import CNN_KEYS

    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = [tuning.suggest(study.ask(), params.tune.space, "resnet18") for _ in range(20)]
    assert not any(set(values) & set(CNN_KEYS) for values in drawn)
    assert {frozenset(values) for values in drawn} == {
        frozenset({"optimizer", "adam_lr"}),
        frozenset({"optimizer", "sgd_lr", "sgd_momentum"}),
        frozenset({"optimizer", "rmsprop_lr", "rmsprop_rho"}),
    }
    tree = {key: value for key, value in params.tune.space.model_dump().items() if key not in CNN_KEYS}
    small = type(params.tune.space).model_validate(tree)
    assert tuning.suggest(study.ask(), small, "resnet18").keys() <= set(small.model_fields_set)
    assert tuning.table([], small).columns[4:].tolist() == [
        "optimizer", "adam_lr", "sgd_lr", "sgd_momentum", "rmsprop_lr", "rmsprop_rho"
    ]  # fmt: skip


def test_tables(search, params):
    made = search()
    trials = run(made)
    table = tuning.table(trials, params.tune.space)
    assert table.columns[:4].tolist() == ["trial", "state", "validation_accuracy", "epochs"]
    assert len(table) == 6
    assert table.loc[0, "dropout_1"] == trials[0].params["dropout_1"]
    summary = json.loads(json.dumps(tuning.summary(made.best(), trials)))
    assert summary["params"] == made.best().params
    assert summary["epochs"] == sum(len(trial.curve) for trial in trials)
    assert tuning.summary(None, [])["trial"] is None
    assert len(tuning.table([], params.tune.space).columns) == len(table.columns)


def test_importance_finds_what_matters(search):
    made = search("wide", n_trials=40, pruner_startup_trials=99)
    run(made)
    importances = made.importances()
    assert max(importances, key=importances.get) == "dropout_1"  # the only one that `score` looks at
    assert search("empty").importances() == {}


def test_a_real_trial_trains_the_network(settings, params, tmp_path):
    made = tuning.Search(settings.model_copy(update={"n_trials": 1}), KNOWN, params.augment, 0, DATA, PLACE, tmp_path)
    records = [record for _, record in made.run(black_and_white)]
    assert [type(record) for record in records] == [Epoch] * (len(records) - 1) + [tuning.Trial]
    assert records[-1].curve == [record.validation_accuracy for record in records[:-1]]


def test_trials_of_a_balanced_training_are_compared_by_balanced_accuracy(settings, params, tmp_path, monkeypatch):
    """By accuracy the trial that always answers the larger class would win."""
    asked = []

    def fit(model, train, validation, optimizer, **options):
        asked.append((options["class_weights"], options["sampling"], options["watch"]))
        fair = len(asked) == 2
        yield Epoch(1, 1.0, 0.5, 1.0, 0.7 if fair else 0.9, 0.0, 0.1, True, 0.0, 1.0, 0.5, 0.8 if fair else 0.5)

    monkeypatch.setattr(tuning, "fit", fit)
    settings = settings.model_copy(update={"n_trials": 3, "epochs": 1})
    where = (0, DATA, PLACE, tmp_path)
    made = tuning.Search(settings, KNOWN, params.augment, *where, class_weights="balanced", watch="penalized_loss")
    assert made.measure == "validation_balanced_accuracy"
    trials = run(made)
    assert asked == [("balanced", "shuffle", "penalized_loss")] * 3
    assert [trial.value for trial in trials] == [0.5, 0.8, 0.5]
    assert made.best().number == 1
    table = tuning.table(trials, params.tune.space, made.measure)
    assert table["validation_balanced_accuracy"].tolist() == [0.5, 0.8, 0.5]
    assert tuning.summary(made.best(), trials, made.measure)["validation_balanced_accuracy"] == 0.8
    names = {
        tuning.Search(settings, KNOWN, params.augment, *where, sampling=how).name for how in ("shuffle", "balanced")
    }
    assert len({*names, made.name}) == 3  # three searches that never mix


def test_a_trial_copies_no_weights(settings, params, tmp_path, monkeypatch):
    # Nobody asks for those of a trial, pruned or not: its parameters are trained anew.
    made = tuning.Search(settings.model_copy(update={"n_trials": 1}), KNOWN, params.augment, 0, DATA, PLACE, tmp_path)
    monkeypatch.setattr("glassbox.training.copy", None)  # the module
    assert isinstance(list(made.try_out(0, *map(black_and_white, ("train", "validation"))))[-1], tuning.Trial)


# Searches with several workers: the real trials, in real processes, and some that go wrong.


class Meeting(tuning.Search):
    """The first two trials wait for each other: they can only end side by side."""

    def _fit(self, params, seed, train, validation):
        both = [derive(self.seed, "tune", "trial", number) for number in (0, 1)]
        folder = Path(self.file).parent
        if seed in both:
            (folder / f"{seed}.here").touch()
            deadline = time.monotonic() + 100
            while not all((folder / f"{other}.here").exists() for other in both):
                if time.monotonic() > deadline:
                    raise TimeoutError("the other worker did not come")
                time.sleep(0.05)
        yield from super()._fit(params, seed, train, validation)


class KilledInTheSecond(tuning.Search):
    """The process of the second trial is killed in each attempt at it."""

    times, server = tuning.ATTEMPTS, False

    def _fit(self, params, seed, train, validation):
        for epoch in super()._fit(params, seed, train, validation):
            yield epoch
            folder = Path(self.file).parent
            if seed == derive(self.seed, "tune", "trial", 1) and len(list(folder.glob("*.killed"))) < self.times:
                (folder / f"{os.getpid()}.killed").touch()
                if self.server:
                    os.kill(os.getppid(), signal.SIGKILL)
                os.kill(os.getpid(), signal.SIGKILL)


class KilledOnce(KilledInTheSecond):
    times = 1


class KilledWithItsServer(KilledOnce):
    """And so is the process that it is a fork of."""

    server = True


class KilledAtTheEnd(tuning.Search):
    """The second and third trial are in the study's file; the process of the second does not come to say so, that of
    the third says so, but not that this was all."""

    def try_out(self, number, train, validation):
        for record in super().try_out(number, train, validation):
            if number == 1 and isinstance(record, tuning.Trial):
                os.kill(os.getpid(), signal.SIGKILL)
            yield record
        if number == 2:
            os.kill(os.getpid(), signal.SIGKILL)


class KilledWhileFailing(tuning.Search):
    """The second trial fails by itself, and its process is killed before the study's file says so."""

    def _fit(self, params, seed, train, validation):
        if seed == derive(self.seed, "tune", "trial", 1):
            self.study.tell = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
            raise Diverged("the loss is not a number")
        yield from super()._fit(params, seed, train, validation)


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


class EditedMeanwhile(tuning.Search):
    """Other code in each process."""

    def __init__(self, *arguments):
        before = tuning._code
        tuning._code = lambda: str(os.getpid())
        super().__init__(*arguments)
        tuning._code = before


class WrongInTheSecond(tuning.Search):
    def _fit(self, params, seed, train, validation):
        if seed == derive(self.seed, "tune", "trial", 1):
            raise KeyError("an error of the program")
        yield from super()._fit(params, seed, train, validation)


class OutOfMemory(tuning.Search):
    def _fit(self, params, seed, train, validation):
        if seed == derive(self.seed, "tune", "trial", 1):
            torch.empty(10**15)  # what the CPU's allocator raises
        if seed == derive(self.seed, "tune", "trial", 2):
            raise torch.OutOfMemoryError("CUDA out of memory")
        if seed == derive(self.seed, "tune", "trial", 3):
            raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")
        yield from super()._fit(params, seed, train, validation)


def real(kind, settings, params, folder, **changes):
    return kind(settings.model_copy(update=changes), KNOWN, params.augment, 0, DATA, PLACE, folder)


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


def test_two_workers_share_a_search(settings, params, tmp_path, two_threads):
    made = real(Meeting, settings, params, tmp_path, workers=2, n_trials=5)
    records = list(made.run(black_and_white))
    finished = [number for number, record in records if isinstance(record, tuning.Trial)]
    assert sorted(finished) == [0, 1, 2, 3, 4] == [trial.number for trial in made.trials()]
    for trial in made.trials():
        curve = [r.validation_accuracy for n, r in records if n == trial.number and isinstance(r, Epoch)]
        assert curve == trial.curve
    assert list(real(Meeting, settings, params, tmp_path, workers=2, n_trials=5).run(black_and_white)) == []


@pytest.mark.parametrize("workers", [1, 2])
def test_a_worker_that_is_killed_costs_its_trial_only(settings, params, tmp_path, two_threads, workers):
    made = real(KilledInTheSecond, settings, params, tmp_path, workers=workers, n_trials=4)
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


def attempts(search: tuning.Search, number: int) -> list[dict]:
    """What each attempt at a trial drew."""
    return [t.params for t in search.study.get_trials() if t.user_attrs.get("number") == number]


@pytest.mark.parametrize("kind", [KilledOnce, KilledWithItsServer])
def test_a_trial_that_is_killed_is_begun_again_and_the_history_is_that_of_a_search_in_peace(
    kind, settings, params, tmp_path
):
    made = real(kind, settings, params, tmp_path / "killed", n_trials=4)
    records = list(made.run(black_and_white))
    whole = real(tuning.Search, settings, params, tmp_path / "whole", n_trials=4)
    list(whole.run(black_and_white))
    assert essence(made.trials()) == essence(whole.trials())
    assert essence([record for _, record in records if isinstance(record, tuning.Trial)]) == essence(whole.trials())
    assert len(attempts(made, 1)) == 1 + kind.times


def test_another_attempt_draws_the_same_though_others_have_found_more_meanwhile(
    settings, params, tmp_path, two_threads
):
    made = real(KilledOnce, settings, params, tmp_path, workers=2, n_trials=6)
    list(made.run(black_and_white))
    first, second = attempts(made, 1)
    assert first == second
    assert [trial.state == "failed" for trial in made.trials()] == [False] * 6


def test_an_attempt_that_had_not_drawn_everything_draws_as_if_for_the_first_time(search):
    made = search()
    for whole in [trial.params for trial in run(made)]:
        assert made._is_drawn(whole)
        for name in whole:
            assert not made._is_drawn({other: value for other, value in whole.items() if other != name})
    assert not made._is_drawn({})


def test_a_worker_killed_after_its_trial_costs_nothing(settings, params, tmp_path):
    made = real(KilledAtTheEnd, settings, params, tmp_path / "killed", n_trials=3)
    records = [record for _, record in made.run(black_and_white) if isinstance(record, tuning.Trial)]
    whole = real(tuning.Search, settings, params, tmp_path / "whole", n_trials=3)
    list(whole.run(black_and_white))
    assert essence(records) == essence(whole.trials())


def test_a_worker_killed_while_its_trial_fails_leaves_one_failed_trial(settings, params, tmp_path):
    made = real(KilledWhileFailing, settings, params, tmp_path, n_trials=3)
    records = [record for _, record in made.run(black_and_white) if isinstance(record, tuning.Trial)]
    assert records == made.trials()
    assert [(trial.number, trial.state) for trial in made.trials()][1] == (1, "failed")
    assert [trial.number for trial in made.trials()] == [0, 1, 2]
    assert made.trials()[1].reason == "the loss is not a number"


def test_a_worker_killed_before_its_trial_is_replaced(settings, params, tmp_path):
    made = real(tuning.Search, settings, params, tmp_path / "search", n_trials=2)
    list(made.run(Killing(tmp_path, times=2)))
    assert [trial.state == "failed" for trial in made.trials()] == [False, False]


def test_workers_killed_again_and_again_end_the_search(settings, params, tmp_path):
    made = real(tuning.Search, settings, params, tmp_path / "search", n_trials=2)
    with pytest.raises(UserError, match=r"trial 0 cannot begin: 3 times its process was ended by SIGKILL.*runs out$"):
        list(made.run(Killing(tmp_path, times=9)))
    assert len(list(tmp_path.glob("*.killed"))) == 3
    with pytest.raises(UserError, match=r"the images do not fit in memory 1 times \(tune.workers\): no room"):
        list(made.run(Killing(tmp_path, times=0)))
    list(made.run(black_and_white))
    assert [trial.number for trial in made.trials()] == [0, 1]


def test_changed_source_files_do_not_mix_in_one_search(settings, params, tmp_path):
    made = real(EditedMeanwhile, settings, params, tmp_path, n_trials=2)
    with pytest.raises(UserError, match="source files of the search were changed"):
        list(made.run(black_and_white))


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_of_the_program_is_no_failed_trial(settings, params, tmp_path, two_threads, workers):
    made = real(WrongInTheSecond, settings, params, tmp_path, workers=workers, n_trials=4)
    with pytest.raises(RuntimeError, match=r"(?s)^1: .*KeyError: 'an error of the program'"):
        list(made.run(black_and_white))
    assert 1 not in [trial.number for trial in made.trials()]


def test_a_trial_that_runs_out_of_memory_is_passed_over(settings, params, tmp_path):
    made = real(OutOfMemory, settings, params, tmp_path, n_trials=5)
    list(made.run(black_and_white))
    failed = [trial.state == "failed" for trial in made.trials()]
    assert failed[:4] == [False, True, True, True]
    assert len(failed) == 5
    assert made.trials()[1].reason.startswith("out of memory: [enforce fail")
    assert made.trials()[2].reason == "out of memory: CUDA out of memory"
    assert made.trials()[3].reason.startswith("out of memory: CUDA error: CUBLAS_STATUS_ALLOC_FAILED")


class Settled(tuning.Search):
    """The seconds of an epoch tell whether its process only runs deterministic algorithms."""

    def _fit(self, params, seed, train, validation):
        for epoch in super()._fit(params, seed, train, validation):
            yield replace(epoch, seconds=float(torch.are_deterministic_algorithms_enabled()))


@pytest.mark.parametrize("deterministic", [False, True])
def test_a_worker_is_as_deterministic_as_its_parent(settings, params, tmp_path, deterministic):
    place = replace(PLACE, deterministic=deterministic)
    made = Settled(settings.model_copy(update={"n_trials": 1}), KNOWN, params.augment, 0, DATA, place, tmp_path)
    epochs = [record.seconds for _, record in made.run(black_and_white) if isinstance(record, Epoch)]
    assert set(epochs) == {float(deterministic)}


def test_a_batch_too_large_for_a_trial_is_named(settings, params, tmp_path, monkeypatch):
    made = real(tuning.Search, settings, params, tmp_path, n_trials=1)
    monkeypatch.setattr(torch.nn.functional, "linear", lambda *_: torch.empty(2**50))
    train, validation = (black_and_white(split) for split in ("train", "validation"))
    (trial,) = made.try_out(0, train, validation)
    assert trial.state == "failed"
    assert "(tune.batch_size and model.input_size) do not fit in the memory" in trial.reason


@pytest.mark.parametrize(
    ("name", "weights", "sentence"),
    [("resnet19", None, r"^model.name is 'resnet19' \(did you mean resnet18\?\)"),
     ("resnet18", "NONE_V1", r"^model.weights is 'NONE_V1', but must be null")],
)  # fmt: skip
def test_a_network_that_cannot_be_had_ends_the_search_before_it_begins(
    settings, params, tmp_path, name, weights, sentence
):
    network = {"weights": weights, "stem": "cifar", "dropout": 0.0, "batch_norm_momentum": 0.9}
    known = Spec(name, network, "data", None)
    made = tuning.Search(settings, known, params.augment, 0, DATA, PLACE, tmp_path)
    with pytest.raises(UserError, match=sentence):
        next(made.run(black_and_white))
    assert made.trials() == []


def test_trials_are_not_compiled(settings, params, tmp_path):
    place = replace(PLACE, compiled=True, graphs=True)
    made = tuning.Search(settings, KNOWN, params.augment, 0, DATA, place, tmp_path)
    assert not made.place.compiled
    assert not made.place.graphs
    assert made.file == tuning.Search(settings, KNOWN, params.augment, 0, DATA, PLACE, tmp_path).file


def test_no_more_trials_at_once_than_cores(settings, params, tmp_path, two_threads):
    assert real(tuning.Search, settings, params, tmp_path, workers=8).at_once == 2
    assert real(tuning.Search, settings, params, tmp_path, workers=1).at_once == 1


def test_a_torn_last_line_is_cut_off(search):
    whole = essence(run(search("whole")))
    made = search("torn", n_trials=3)
    run(made)
    file = made.file
    file.write_bytes(file.read_bytes()[:-20])  # a machine went down in the middle of a line: the end of the third trial
    assert len(search("torn", n_trials=3).trials()) == 2
    assert essence(run(search("torn"))) == whole


def test_a_damaged_file_is_named(search):
    run(search(n_trials=2))
    file = search().file
    lines = file.read_text().splitlines()
    lines[4] = lines[4][:-7]
    file.write_text("\n".join(lines) + "\n")
    with pytest.raises(UserError, match=rf"{file.name}, the record of this search, is damaged .*: delete it"):
        search()


def test_no_flipped_byte_of_the_record_changes_the_search(search):
    """JSON with one digit changed is JSON after all: every line carries a digest of what else is in it."""
    run(search(n_trials=2))
    file = search().file
    whole, known = file.read_bytes(), essence(search().trials())
    last = whole.rindex(b"\n", 0, -1)
    for place in range(0, len(whole), 97):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        try:
            found = essence(search().trials())
        except UserError as error:
            said = str(error)
            assert said.startswith(f"{file}, the record of this search, is damaged (")
            assert said.endswith("): delete it, and the search begins anew")
        else:
            assert place > last or found == known
    values = json.dumps(known[0][2])[:6].encode()
    assert whole.count(values) >= 1
    file.write_bytes(whole.replace(values, values[:-1] + (b"1" if values[-1:] != b"1" else b"2"), 1))
    with pytest.raises(UserError, match=r"is damaged \(the checksum of its line \d+ is another\): delete it"):
        search()


def test_a_record_that_is_a_folder_is_said(search):
    file = search().file
    file.unlink()
    file.mkdir()
    with pytest.raises(UserError, match=rf"{file.name}, the record of this search, is damaged \(it is a folder\)"):
        search()


def four_trials(workers: int) -> dict:
    update = {"n_trials": 4, "startup_trials": 1, "epochs": 3, "pruner_startup_trials": 1, "pruner_warmup_epochs": 0}
    return update | {"workers": workers}


# A search in a process of its own, to be killed; slow enough to be killed within a trial.
SCRIPT = """
import sys, time
import torch
from glassbox import config, tuning
from tests.test_tuning import black_and_white, four_trials, real

class Slow(tuning.Search):
    def _fit(self, *arguments):
        for epoch in super()._fit(*arguments):
            time.sleep(float(sys.argv[2]))
            yield epoch

if __name__ == "__main__":
    workers = int(sys.argv[3])
    torch.set_num_threads(workers)
    params = config.read("params.yaml")
    for number, record in real(Slow, params.tune, params, sys.argv[1], **four_trials(workers)).run(black_and_white):
        print(number, type(record).__name__, flush=True)
"""


@pytest.fixture
def process(tmp_path):
    """Start the script in a folder; whatever is left of it is killed at the end."""
    (tmp_path / "search.py").write_text(SCRIPT)
    root = Path(__file__).resolve().parent.parent
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


def history(folder: Path) -> list:
    (journal,) = folder.glob("*.journal")
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(journal)))
    study = optuna.load_study(study_name=journal.stem, storage=storage)
    kept = [t for t in study.get_trials() if t.state.is_finished() and not tuning._interrupted(t)]
    return sorted((t.user_attrs["number"], t.state, t.value, t.params, t.intermediate_values) for t in kept)


def test_a_search_killed_in_a_trial_ends_as_the_uninterrupted_one(process, params, tmp_path, one_thread):
    def left_in_peace(folder: str) -> None:
        list(real(tuning.Search, params.tune, params, tmp_path / folder, **four_trials(1)).run(black_and_white))

    left_in_peace("whole")
    for number in (0, 2):  # the second kill is past the random trials
        run = process("cut", 0.5, 1)
        for line in run.stdout:
            if line == f"{number} Epoch\n":
                break
        time.sleep(0.2)  # into the next epoch
        run.send_signal(signal.SIGKILL)
        run.wait()
    left_in_peace("cut")
    assert history(tmp_path / "cut") == history(tmp_path / "whole")
    assert len(history(tmp_path / "cut")) == 4


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
    list(real(tuning.Search, params.tune, params, tmp_path / "search", **four_trials(2)).run(black_and_white))
    assert [number for number, *_ in history(tmp_path / "search")] == [0, 1, 2, 3]


def test_memory_and_open_files_stay_flat_over_200_trials(settings, params, tmp_path):
    """Of the process that trains and of the one that waits for it: a search may run for days."""
    import psutil

    made = real(tuning.Search, settings, params, tmp_path, n_trials=200, epochs=1, startup_trials=180)
    taken = []
    for _, record in made.run(black_and_white):
        if isinstance(record, tuning.Trial) and record.number in (49, 99, 149, 199):
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
