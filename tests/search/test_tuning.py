"""The search in this process, where a worker is a generator."""

import json
from dataclasses import replace

import optuna
import pandas as pd
import pytest
import torch

from glassbox.core.errors import UserError
from glassbox.execution.compute import Place
from glassbox.models import Spec
from glassbox.search import outcome, trainer, tuning
from glassbox.training.records import Diverged
from tests.searches import (
    KNOWN,
    PLACE,
    Toy,
    attempts,
    black_and_white,
    epoch_of,
    essence,
    in_turn,
    run,
    score,
    steps,
    within,
)


def test_the_value_of_a_trial_is_its_best_epoch_and_the_best_trial_wins(search):
    trials = run(search(n_trials=8))
    assert [trial.number for trial in trials] == list(range(8))
    for trial in trials:
        assert trial.curve == [score(trial.params, epoch) for epoch in range(1, len(trial.curve) + 1)]
        assert trial.value == max(trial.curve)
        assert (trial.state == "complete") == (len(trial.curve) == 4)
    complete = [trial for trial in trials if trial.state == "complete"]
    assert search(n_trials=8).best() == max(complete, key=lambda trial: trial.value)
    # A trial below the median is pruned.
    assert {trial.state for trial in trials} == {"complete", "pruned"}
    for place, trial in enumerate(trials):
        if trial.state == "pruned":
            step = len(trial.curve)
            others = [t.curve[step - 1] for t in trials[:place] if t.state == "complete"]
            assert trial.value < pd.Series(others).median()


def test_the_first_epochs_are_never_pruned(search):
    assert all(len(trial.curve) >= 3 for trial in run(search(pruner_warmup_epochs=2)))
    assert {trial.state for trial in run(search("none", pruner_warmup_epochs=4))} == {"complete"}


class FirstIsBetter(Toy):
    def epochs(self, number, *_):
        for epoch in range(1, self.settings.epochs + 1):
            yield epoch_of(epoch, 0.9 if number == 0 else 0.1)


def test_one_workers_reports_prune_anothers_trial(search):
    shared = search(kind=FirstIsBetter, n_trials=2, workers=2)
    begin, first_to_its_end = [1, 1, 0], [0] * 5
    records = list(shared.run(black_and_white, in_turn(*begin, *first_to_its_end, 1, 1)))
    assert [number for number, record in records if isinstance(record, outcome.Trial)] == [0, 1]
    assert [(trial.state, len(trial.curve)) for trial in shared.trials()] == [("complete", 4), ("pruned", 2)]


@pytest.mark.parametrize("stop_after", [1, 13])
def test_a_search_killed_in_a_trial_resumes_with_the_same_history(search, uninterrupted, stop_after):
    records = steps(search())
    for _ in range(stop_after):
        next(records)
    records.close()  # leaves its trial running, as kill -9 would
    assert essence(run(search())) == essence(uninterrupted)


@pytest.mark.parametrize("after", [1, 30])
def test_a_search_killed_in_a_draw_resumes_with_the_same_history(search, uninterrupted, monkeypatch, after):
    suggest, left = optuna.Trial.suggest_float, [after]

    def dying(self, name, *rest, **also):
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt
        return suggest(self, name, *rest, **also)

    monkeypatch.setattr(optuna.Trial, "suggest_float", dying)
    with pytest.raises(KeyboardInterrupt):
        run(search())
    killed = search().study.get_trials()[-1]
    assert (killed.state.name, killed.user_attrs) == ("RUNNING", {})
    assert killed.params
    assert essence(run(search())) == essence(uninterrupted)


def test_a_trial_whose_worker_dies_is_repeated_unless_it_had_ended(search, uninterrupted):
    killed = search()
    records = list(steps(killed, 1, 4, 4, after_end=(2,)))
    assert [number for number, record in records if isinstance(record, outcome.Trial)] == list(range(6))
    assert essence(killed.trials()) == essence(uninterrupted)
    assert [len(attempts(killed, number)) for number in range(6)] == [1, 2, 1, 1, 3, 1]


def test_another_attempt_draws_the_same_whatever_was_found_meanwhile(search):
    order = (0, 0, 3, 3, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1)  # trial 3 is left running
    list(search(workers=2, n_trials=4).run(black_and_white, in_turn(*order)))
    again = search(workers=2, n_trials=4)
    run(again)
    first, second = attempts(again, 3)
    assert first == second
    assert [trial.number for trial in again.trials()] == [0, 1, 2, 3]


def test_a_finished_search_does_nothing_more_and_a_longer_one_resumes(search):
    short = run(search(n_trials=3))
    assert list(steps(search(n_trials=3))) == []
    longer = run(search(n_trials=5))
    assert essence(longer[:3]) == essence(short)
    assert essence(search(n_trials=3).trials()) == essence(short)


def test_searches_of_another_kind_seed_or_version_do_not_mix(search, monkeypatch):
    first = search()
    assert search(seed=1).file != first.file
    assert search(epochs=5).file != first.file
    assert search(n_trials=99).file == first.file
    assert search(workers=2).file == search(workers=3).file != first.file
    assert search(place=Place(torch.device("cpu"), torch.bfloat16, 64)).file != first.file
    assert search(threads=first.threads + 1).file != first.file, "another order of sums, and so other last bits"
    assert run(search("one", n_trials=1))[0].params != run(search("other", n_trials=1, seed=1))[0].params
    monkeypatch.setattr(torch, "__version__", "99.0")
    newer = search().file
    assert newer != first.file
    monkeypatch.setattr(tuning.fingerprint, "digest", lambda module: "another version")
    assert search().file not in (first.file, newer)


class Broken(Toy):
    """The second trial meets an error of the program."""

    def epochs(self, number, *rest):
        if number == 1:
            raise KeyError("in the program")
        yield from super().epochs(number, *rest)


def test_an_error_of_the_program_is_no_failed_trial(search):
    with pytest.raises(KeyError, match="in the program"):
        run(search(kind=Broken))
    assert [trial.number for trial in search().trials()] == [0]


class OutOfMemory(Toy):
    def epochs(self, number, *rest):
        if number == 1:
            torch.empty(10**15)  # the error of the CPU's allocator
        if number == 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        if number == 3:
            raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")
        yield from super().epochs(number, *rest)


def test_a_trial_that_runs_out_of_memory_has_failed(search):
    trials = run(search(kind=OutOfMemory, n_trials=5))
    assert [trial.state == "failed" for trial in trials] == [False, True, True, True, False]
    assert [trial.value for trial in trials[1:4]] == [None, None, None]
    assert trials[1].reason.startswith("out of memory: [enforce fail")
    assert trials[2].reason == "out of memory: CUDA out of memory"
    assert trials[3].reason.startswith("out of memory: CUDA error: CUBLAS_STATUS_ALLOC_FAILED")


def no_memory(split):
    raise MemoryError("no room")


@pytest.mark.parametrize(
    ("read", "code", "message"),
    [
        (no_memory, None, r"^the images do not fit in memory 1 times \(tune.workers\): no room"),
        (black_and_white, "another digest", "^the source files of the search were changed while it ran: run it again"),
    ],
)
def test_a_worker_that_cannot_begin_stops_the_search(search, read, code, message):
    changed = search()
    changed.code = code or changed.code
    with pytest.raises(UserError, match=message):
        next(changed.run(read, within()))


def test_there_are_no_more_parallel_trials_than_cores(search):
    assert search(workers=8, threads=2).at_once == 2
    assert search(workers=1, threads=2).at_once == 1


class NeverLearns(Toy):
    def epochs(self, *_):
        raise Diverged("the loss is not a number")
        yield


def test_a_search_without_a_complete_trial_says_why(search):
    run(search(kind=NeverLearns))
    with pytest.raises(UserError, match=r"none of the 6 trials of the search completed \(the loss is not a number\)"):
        search().best()


def test_tables(uninterrupted, params):
    trials = uninterrupted
    best = max(trials, key=lambda trial: (trial.state == "complete", trial.value))
    table = outcome.table(trials, params.tune.space)
    assert table.columns[:4].tolist() == ["trial", "state", "validation_accuracy", "epochs"]
    assert len(table) == 6
    assert table.loc[0, "dropout_1"] == trials[0].params["dropout_1"]
    summary = json.loads(json.dumps(outcome.summary(best, trials)))
    assert summary["params"] == best.params
    assert summary["epochs"] == sum(len(trial.curve) for trial in trials)
    assert outcome.summary(None, [])["trial"] is None
    assert len(outcome.table([], params.tune.space).columns) == len(table.columns)


def test_importance_finds_what_matters_in_the_requested_trials(search):
    long = search("long", n_trials=20, pruner_startup_trials=99)
    run(long)
    importances = long.importances()
    assert max(importances, key=importances.get) == "dropout_1", "the only one that `score` depends on"
    short = search("short", n_trials=8, pruner_startup_trials=99)
    assert short.importances() == {}
    run(short)
    assert search("long", n_trials=8, pruner_startup_trials=99).importances() == short.importances() != {}


class Unfair(trainer.Trainer):
    """The second trial is equally good for both classes, the others always predict the larger one."""

    def epochs(self, number, *_):
        assert (self.class_weights, self.watch) == ("balanced", "penalized_loss")
        yield epoch_of(1, 0.7, balanced=0.8) if number == 1 else epoch_of(1, 0.9, balanced=0.5)


def test_trials_of_a_balanced_training_are_compared_by_balanced_accuracy(search, params, tmp_path):
    unfair = search(kind=Unfair, n_trials=3, epochs=1).trainer
    balanced = tuning.Search(replace(unfair, class_weights="balanced", watch="penalized_loss"), tmp_path)
    assert balanced.measure == "validation_balanced_accuracy"
    trials = run(balanced)
    assert [trial.value for trial in trials] == [0.5, 0.8, 0.5]
    assert balanced.best().number == 1
    table = outcome.table(trials, params.tune.space, balanced.measure)
    assert table["validation_balanced_accuracy"].tolist() == [0.5, 0.8, 0.5]
    assert outcome.summary(balanced.best(), trials, balanced.measure)["validation_balanced_accuracy"] == 0.8
    others = {tuning.Search(replace(unfair, sampling=sampling), tmp_path).file for sampling in ("shuffle", "balanced")}
    assert len({*others, balanced.file}) == 3, "three searches that never mix"


def test_a_trial_is_trained_as_the_network_will_be_and_copies_no_weights(search, monkeypatch):
    recipes, fit = [], trainer.fit
    monkeypatch.setattr(trainer, "fit", lambda *args, **options: recipes.append(args[-1]) or fit(*args, **options))
    monkeypatch.setattr("glassbox.training.early_stopping.copy", None)  # the module
    plain = search(kind=trainer.Trainer, n_trials=1).trainer
    balanced = replace(plain, class_weights="balanced", sampling="balanced", watch="penalized_loss")
    records = balanced.records(0, black_and_white("train"), black_and_white("validation"))
    assert next(records) == trainer.Ready()
    epochs = [records.send(run(search(n_trials=1))[0].params), *records]
    assert epochs.pop() == trainer.Ended("")
    (recipe,) = recipes
    assert (recipe.class_weights, recipe.sampling, recipe.watch) == ("balanced", "balanced", "penalized_loss")


def test_a_batch_too_large_for_a_trial_is_named(search, monkeypatch):
    monkeypatch.setattr(torch.nn.functional, "linear", lambda *_: torch.empty(2**50))
    (trial,) = run(search(kind=trainer.Trainer, n_trials=1))
    assert trial.state == "failed"
    assert "(tune.batch_size and model.input_size) do not fit in the memory" in trial.reason


@pytest.mark.parametrize(
    ("name", "weights", "sentence"),
    [
        ("resnet19", None, r"^model.name is 'resnet19' \(did you mean resnet18\?\)"),
        ("resnet18", "NONE_V1", r"^model.weights is 'NONE_V1', but must be null"),
    ],
)
def test_an_unavailable_network_ends_the_search_before_it_begins(search, tmp_path, name, weights, sentence):
    network = {"weights": weights, "stem": "cifar", "dropout": 0.0, "batch_norm_momentum": 0.9}
    unavailable = tuning.Search(replace(search().trainer, known=Spec(name, network, "data", None)), tmp_path)
    with pytest.raises(UserError, match=sentence):
        next(steps(unavailable))
    assert unavailable.trials() == []


def test_trials_are_not_compiled(search):
    compiled = search(place=replace(PLACE, compiled=True, graphs=True))
    assert compiled.trainer.place == PLACE
    assert compiled.trainer.known == KNOWN
    assert compiled.file == search().file
