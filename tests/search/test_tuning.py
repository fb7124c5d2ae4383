"""The search in this process, where a worker is a generator."""

import json
import threading
from dataclasses import replace

import optuna
import pandas as pd
import pytest
import torch

from glassbox.core.errors import UserError
from glassbox.execution.compute import Place
from glassbox.search import outcome, trainer, tuning
from glassbox.training.records import Diverged
from tests.searches import (
    PLACE,
    Toy,
    attempts,
    black_and_white,
    epoch_of,
    essence,
    in_turn,
    known,
    run,
    score,
    space_of,
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


def sections_of(name: str, value: object) -> dict:
    """A change of one key."""
    section, _, key = name.partition(".")
    return {section: {key: value}}


@pytest.mark.parametrize(
    ("key", "value", "is_same"),
    [
        ("train.patience", 99, True),  # a trial has tune.patience
        ("train.keep", "last", True),
        ("train.workers", 3, True),
        ("train.epochs", 99, True),  # a trial has at most tune.epochs
        ("train.epochs", 3, False),
        ("train.learning_rate", 0.5, True),  # searched: the given value is for *train*
        ("train.momentum", 0.5, True),
        ("train.optimizer", "sgd", True),
        ("train.weight_decay", 0.1, False),
        ("train.label_smoothing", 0.1, False),
        ("train.schedule", "constant", False),
        ("train.head_epochs", 1, False),
        ("train.watch", "penalized_loss", False),
        ("train.min_delta", 0.5, False),
        ("train.batch_size", 3, False),
        ("augment.crop", 9, False),
        ("augment.validation_and_test", True, False),
        ("model.normalization", "half", False),
        ("model.input_size", 16, False),
    ],
)
def test_a_search_has_another_file_if_a_value_changes_that_its_trials_depend_on(search, key, value, is_same):
    changed = search(sections=sections_of(key, value))
    assert (changed.file == search().file) == is_same


def test_a_given_argument_counts_unless_it_is_searched(search, params):
    def file(**arguments):
        return search(sections={"model": {"arguments": params.model.arguments | arguments}}).file

    assert file(conv1_filters=99) == file(leaky_relu_alpha_1=0.2) == search().file
    assert file(batch_norm_momentum=0.5) != search().file


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
    options, measure = params.tune.options, "validation_accuracy"
    table = outcome.table(trials, options, measure)
    assert table.columns[:4].tolist() == ["trial", "state", "validation_accuracy", "epochs"]
    assert len(table) == 6
    assert table.loc[0, "dropout_1"] == trials[0].params["dropout_1"]
    summary = json.loads(json.dumps(outcome.summary(best, trials, options, measure)))
    assert summary["params"] == best.by_key
    assert summary["params"]["train.learning_rate"] == best.params[f"{best.params['optimizer']}_lr"]
    assert (summary["trial"], summary["measure"], summary["value"]) == (best.number, measure, best.value)
    assert summary["epochs"] == sum(len(trial.curve) for trial in trials)
    assert summary["when"]["train.momentum"] == [{"train.optimizer": "sgd"}]
    none = outcome.summary(None, [], options, measure)
    assert (none["trial"], none["value"], none["params"], none["when"]) == (None, None, {}, summary["when"])
    assert len(outcome.table([], options, measure).columns) == len(table.columns)
    both = outcome.table([replace(best, cost=7.0)], options, measure, "parameters")
    assert both.columns[:5].tolist() == ["trial", "state", measure, "parameters", "epochs"]
    assert both.loc[0, "parameters"] == 7.0


def test_a_value_in_words():
    assert outcome.shown(0.1234, "validation_accuracy") == "12.3 %"
    assert outcome.shown(0.1234, "validation_macro_f1", digits=2) == "12.34 %"
    assert outcome.shown(0.1234, "validation_loss") == "0.1234"


def test_importance_finds_what_matters_in_the_requested_trials(search):
    long = search("long", n_trials=40, pruner_startup_trials=99)
    run(long)
    found = long.importances()
    assert found.above_chance == ["dropout_1"], "the only one that `score` depends on"
    assert found.trials == 40
    assert sum(found.shares.values()) == pytest.approx(1)
    half = search("long", n_trials=20, pruner_startup_trials=99).importances()
    assert max(half.shares, key=half.shares.get) == "dropout_1"
    assert half.above_chance == [], "so few trials do not show it"
    short = search("short", n_trials=12, pruner_startup_trials=99)
    assert short.importances() is None
    run(short)
    assert search("long", n_trials=12, pruner_startup_trials=99).importances() == short.importances() is not None
    assert search("long", n_trials=9, pruner_startup_trials=99).importances() is None, "too few"


@pytest.mark.parametrize("objective", ["loss", "macro_f1"])
def test_another_objective_leads_to_the_same_search_where_it_says_the_same(search, uninterrupted, objective):
    """In `Toy` the loss is the negative of the accuracy, and macro F1 is equal to it."""
    sign = -1 if objective == "loss" else 1
    other = search(objective=objective)
    assert other.measure == f"validation_{objective}"
    records = steps(other)
    for _ in range(13):
        next(records)
    records.close()
    trials = run(search(objective=objective))
    assert essence([replace(t, value=sign * t.value, curve=[sign * v for v in t.curve]) for t in trials]) == essence(
        uninterrupted
    )
    assert [t.value for t in trials] == [min(t.curve) if objective == "loss" else max(t.curve) for t in trials]
    assert {t.state for t in trials} == {"complete", "pruned"}
    assert run(search()), "the search by accuracy"
    assert search(objective=objective).best().number == search().best().number
    assert search(objective=objective).file != search().file
    long = {"n_trials": 20, "pruner_startup_trials": 99}
    assert run(search("long", **long))
    assert run(search("long", objective=objective, **long))
    assert search("long", objective=objective, **long).importances() == search("long", **long).importances() is not None


def n_parameters(p: dict) -> int:
    """Weights and biases of the CNN for images of 8 x 8 pixels and two classes."""
    k1, k2, f1, f2 = (p[f"{name}_{what}"] for what in ("kernel_size", "filters") for name in ("conv1", "conv2"))
    side = 8 // p["pool_size_1"] // p["pool_size_2"]
    convolutions = f1 * (3 * k1**2 + 1) + f2 * (f1 * k2**2 + 1)
    dense = p["dense_units_1"]
    return convolutions + 2 * (f1 + f2) + dense * (f2 * side**2 + 1) + 2 * (dense + 1)


def test_a_second_objective_is_recorded_nothing_is_pruned_and_the_history_is_the_same_after_a_kill(search):
    """Images of 8 pixels, pooled by 3 and 3, leave nothing: such a trial has failed."""
    options = {"second_objective": "parameters", "n_trials": 10, "seed": 1}
    trials = run(search("whole", **options))
    assert {trial.state for trial in trials} == {"complete", "failed"}
    for trial in trials:
        pooled_away = trial.params["pool_size_1"] == trial.params["pool_size_2"] == 3
        assert (trial.state == "failed") == pooled_away
        assert len(trial.curve) == 4
        assert trial.cost == (None if pooled_away else n_parameters(trial.params))
    best = max((t for t in trials if t.state == "complete"), key=lambda t: t.value)
    assert search("whole", **options).best() == best, "by the first objective"
    for stop_after in (2, 23):
        records = steps(search(f"{stop_after}", **options))
        for _ in range(stop_after):
            next(records)
        records.close()
        assert essence(run(search(f"{stop_after}", **options))) == essence(trials)
    assert essence(search("whole", **options).trials()) == essence(trials), "as read from the file"
    assert search("whole", **options).file != search("whole", n_trials=10).file


def test_the_milliseconds_of_a_forward_pass_are_measured(search):
    trials = run(search(second_objective="forward_ms", n_trials=2))
    assert all(0 < trial.cost < 1000 for trial in trials if trial.state == "complete")
    assert any(trial.state == "complete" for trial in trials)


def test_two_processes_that_do_the_same_search_take_turns(search, capsys):
    """As experiments of DVC's queue may, which share the file."""
    first, second, order = search(), search(), []

    def other():
        with second.alone():
            order.append("second")

    with first.alone():
        thread = threading.Thread(target=other)
        thread.start()
        thread.join(0.3)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
    assert capsys.readouterr().out == "another process does the same search: this one waits for it\n"


class Unfair(trainer.Trainer):
    """The second trial is equally good for both classes, the others always predict the larger one."""

    def epochs(self, number, *_):
        yield epoch_of(1, 0.7, balanced=0.8) if number == 1 else epoch_of(1, 0.9, balanced=0.5)


def test_trials_of_a_balanced_training_are_compared_by_balanced_accuracy(search, params):
    def balanced_by(**changes):
        return search(kind=Unfair, n_trials=3, epochs=1, sections={"train": changes})

    balanced = balanced_by(class_weights="balanced")
    assert balanced.measure == "validation_balanced_accuracy"
    trials = run(balanced)
    assert [trial.value for trial in trials] == [0.5, 0.8, 0.5]
    assert balanced.best().number == 1
    table = outcome.table(trials, params.tune.options, balanced.measure)
    assert table["validation_balanced_accuracy"].tolist() == [0.5, 0.8, 0.5]
    assert outcome.summary(balanced.best(), trials, params.tune.options, balanced.measure)["value"] == 0.8
    others = {balanced_by(sampling=sampling).file for sampling in ("shuffle", "balanced")}
    assert len({*others, balanced.file}) == 3, "three searches that never mix"


def test_a_batch_too_large_for_a_trial_is_named(search, monkeypatch):
    linear = torch.nn.functional.linear
    monkeypatch.setattr(
        torch.nn.functional, "linear", lambda x, *rest: linear(x, *rest) if len(x) == 1 else torch.empty(2**50)
    )
    (trial,) = run(search(kind=trainer.Trainer, n_trials=1))
    assert trial.state == "failed"
    assert "(train.batch_size and model.input_size) do not fit in the memory" in trial.reason


@pytest.mark.parametrize(
    ("name", "weights", "sentence"),
    [
        (
            "torchvision/resnet19",
            None,
            r"^model.name is 'torchvision/resnet19' \(did you mean torchvision/resnet18",
        ),
        ("torchvision/resnet18", "NONE_V1", r"^model.weights is 'NONE_V1', but must be null"),
    ],
)
def test_an_unavailable_network_ends_the_search_before_it_begins(search, name, weights, sentence):
    network = {"name": name, "weights": weights, "arguments": {"stem": "cifar"}}
    unavailable = search(sections={"model": network}, space=space_of({"train.learning_rate": [0.1]}))
    with pytest.raises(UserError, match=sentence):
        next(steps(unavailable))
    assert unavailable.trials() == []


def test_trials_are_not_compiled(search, params):
    compiled = search(place=replace(PLACE, compiled=True, graphs=True))
    assert compiled.trainer.place == PLACE
    assert compiled.trainer.known == known(params)
    assert compiled.file == search().file
