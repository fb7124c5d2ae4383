"""The search in this process, where a worker is a generator: what it draws, prunes, keeps, and does again."""

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
    search_of,
    steps,
)


@pytest.fixture
def search(params, tmp_path):
    """Searches that share a folder."""

    def make(folder="search", kind=Toy, **changes):
        return search_of(kind, params, tmp_path / folder, **changes)

    return make


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


class FirstIsBetter(Toy):
    def epochs(self, number, *_):
        for epoch in range(1, self.settings.epochs + 1):
            yield epoch_of(epoch, 0.9 if number == 0 else 0.1)


def test_one_workers_reports_prune_anothers_trial(search):
    made = search(kind=FirstIsBetter, n_trials=2, workers=2)
    begin, first_to_its_end = [1, 1, 0], [0] * 5
    records = list(made.run(black_and_white, in_turn(*begin, *first_to_its_end, 1, 1)))
    assert [number for number, record in records if isinstance(record, outcome.Trial)] == [0, 1]
    assert [(trial.state, len(trial.curve)) for trial in made.trials()] == [("complete", 4), ("pruned", 2)]


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


@pytest.mark.parametrize("after", [1, 30])
def test_a_search_cut_off_in_a_draw_draws_as_if_for_the_first_time(search, monkeypatch, after):
    whole = essence(run(search("whole")))
    suggest, left = optuna.Trial.suggest_float, [after]

    def dying(self, name, *rest, **also):
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt
        return suggest(self, name, *rest, **also)

    monkeypatch.setattr(optuna.Trial, "suggest_float", dying)
    with pytest.raises(KeyboardInterrupt):
        run(search("cut"))
    cut = search("cut").study.get_trials()[-1]
    assert (cut.state.name, cut.user_attrs) == ("RUNNING", {})
    assert cut.params
    assert essence(run(search("cut"))) == whole


def test_a_dead_workers_trial_is_made_again(search):
    whole = essence(run(search("whole")))
    made = search("killed")
    records = list(steps(made, 1, 4, 4))
    assert [number for number, record in records if isinstance(record, outcome.Trial)] == list(range(6))
    assert essence(made.trials()) == whole
    assert [len(attempts(made, number)) for number in range(6)] == [1, 2, 1, 1, 3, 1]


def test_another_attempt_draws_the_same_whatever_was_found_meanwhile(search):
    made = search(workers=2, n_trials=4)
    list(made.run(black_and_white, in_turn(0, 0, 3, 3, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1)))  # trial 3 is left running
    again = search(workers=2, n_trials=4)
    run(again)
    first, second = attempts(again, 3)
    assert first == second
    assert [trial.number for trial in again.trials()] == [0, 1, 2, 3]


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
    monkeypatch.setattr(tuning.fingerprint, "digest", lambda module: "another version")
    assert search().file not in (first, newer)


def test_importance_counts_the_trials_asked_for_and_no_more(search):
    run(search("short", n_trials=8))
    run(search("long", n_trials=20))
    assert search("long", n_trials=8).importances() == search("short", n_trials=8).importances()


class FailsBySgd(Toy):
    def epochs(self, number, params, *rest):
        if params["optimizer"] == "sgd":
            raise Diverged("the loss is not a number after epoch 1")
        yield from super().epochs(number, params, *rest)


def test_a_failed_trial_is_recorded_and_passed_over(search):
    trials = run(search(kind=FailsBySgd, n_trials=12))
    failed = [trial for trial in trials if trial.state == "failed"]
    assert len(trials) == 12
    assert failed
    assert all(trial.value is None and "not a number" in trial.reason for trial in failed)
    assert len(search(n_trials=12).trials()) == 12


class NeverLearns(Toy):
    def epochs(self, *_):
        raise Diverged("the loss is not a number")
        yield


def test_a_search_without_a_complete_trial_says_why(search):
    made = search(kind=NeverLearns)
    run(made)
    with pytest.raises(UserError, match=r"none of the 6 trials of the search completed \(the loss is not a number\)"):
        made.best()


def test_tables(search, params):
    made = search()
    trials = run(made)
    table = outcome.table(trials, params.tune.space)
    assert table.columns[:4].tolist() == ["trial", "state", "validation_accuracy", "epochs"]
    assert len(table) == 6
    assert table.loc[0, "dropout_1"] == trials[0].params["dropout_1"]
    summary = json.loads(json.dumps(outcome.summary(made.best(), trials)))
    assert summary["params"] == made.best().params
    assert summary["epochs"] == sum(len(trial.curve) for trial in trials)
    assert outcome.summary(None, [])["trial"] is None
    assert len(outcome.table([], params.tune.space).columns) == len(table.columns)


def test_importance_finds_what_matters(search):
    made = search("wide", n_trials=40, pruner_startup_trials=99)
    run(made)
    importances = made.importances()
    assert max(importances, key=importances.get) == "dropout_1"  # the only one that `score` looks at
    assert search("empty").importances() == {}


class Unfair(trainer.Trainer):
    """The second trial does equally well on both classes, the others always answer the larger one."""

    def epochs(self, number, *_):
        assert (self.class_weights, self.watch) == ("balanced", "penalized_loss")
        yield epoch_of(1, 0.7, balanced=0.8) if number == 1 else epoch_of(1, 0.9, balanced=0.5)


def test_trials_of_a_balanced_training_are_compared_by_balanced_accuracy(search, params, tmp_path):
    of_trials = search(kind=Unfair, n_trials=3, epochs=1).trainer
    made = tuning.Search(replace(of_trials, class_weights="balanced", watch="penalized_loss"), tmp_path)
    assert made.measure == "validation_balanced_accuracy"
    trials = run(made)
    assert [trial.value for trial in trials] == [0.5, 0.8, 0.5]
    assert made.best().number == 1
    table = outcome.table(trials, params.tune.space, made.measure)
    assert table["validation_balanced_accuracy"].tolist() == [0.5, 0.8, 0.5]
    assert outcome.summary(made.best(), trials, made.measure)["validation_balanced_accuracy"] == 0.8
    others = {tuning.Search(replace(of_trials, sampling=how), tmp_path).file for how in ("shuffle", "balanced")}
    assert len({*others, made.file}) == 3  # three searches that never mix


def test_a_trial_is_trained_as_the_network_will_be_and_copies_no_weights(search, monkeypatch):
    """Nobody asks for the weights of a trial, pruned or not: its parameters are trained anew."""
    recipes = []
    fit = trainer.fit
    monkeypatch.setattr(trainer, "fit", lambda *args, **options: recipes.append(args[-1]) or fit(*args, **options))
    monkeypatch.setattr("glassbox.training.early_stopping.copy", None)  # the module
    of_trials = search(kind=trainer.Trainer, n_trials=1).trainer
    of_trials = replace(of_trials, class_weights="balanced", sampling="balanced", watch="penalized_loss")
    records = of_trials.records(0, black_and_white("train"), black_and_white("validation"))
    assert next(records) == trainer.Ready()
    epochs = [records.send(run(search(n_trials=1))[0].params), *records]
    assert epochs.pop() == trainer.Ended("")
    assert [(recipe.class_weights, recipe.sampling, recipe.watch) for recipe in recipes] == [
        ("balanced", "balanced", "penalized_loss")
    ]


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
def test_a_network_that_cannot_be_had_ends_the_search_before_it_begins(search, tmp_path, name, weights, sentence):
    network = {"weights": weights, "stem": "cifar", "dropout": 0.0, "batch_norm_momentum": 0.9}
    made = tuning.Search(replace(search().trainer, known=Spec(name, network, "data", None)), tmp_path)
    with pytest.raises(UserError, match=sentence):
        next(steps(made))
    assert made.trials() == []


def test_trials_are_not_compiled(search):
    made = search(place=replace(PLACE, compiled=True, graphs=True))
    assert not made.trainer.place.compiled
    assert not made.trainer.place.graphs
    assert made.trainer.known == KNOWN
    assert made.file == search().file
