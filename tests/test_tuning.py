import json

import optuna
import pandas as pd
import pytest
import torch

from glassbox import tuning
from glassbox.compute import Place
from glassbox.data.store import Description
from glassbox.errors import UserError
from glassbox.training import Diverged, Epoch

PLACE = Place(torch.device("cpu"), torch.float32, 64)
DATA = Description("toy", ("a", "b"), 8, {}, (0, 0, 0), (1, 1, 1), False, "d" * 64)


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
            yield Epoch(epoch, 1.0, 0.5, 1.0, score(drawn, epoch), 0.0, 0.1, True, 0.0, 1.0)

    monkeypatch.setattr(tuning.Search, "_fit", fit)

    def make(folder="search", seed=0, place=PLACE, **changes):
        changed = settings.model_copy(update=changes)
        return tuning.Search(changed, 0.9, "data", params.augment, seed, DATA, place, tmp_path / folder)

    return make


def run(search: tuning.Search) -> list[tuning.Trial]:
    for _ in search.run(None, None):
        pass
    return search.trials()


def essence(trials):
    return [(t.number, t.state, t.value, t.params, t.curve) for t in trials]


def test_a_trial_draws_only_what_its_choices_call_for(params):
    drawn = []
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(60):
        drawn.append(tuning.suggest(study.ask(), params.tune.space))
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
    records = search("cut").run(None, None)
    for _ in range(stop_after):
        next(records)
    records.close()  # leaves its trial running, as kill -9 would
    resumed = search("cut")
    assert essence(run(resumed)) == whole
    assert search("cut").best().number == search("whole").best().number


def test_a_finished_search_does_nothing_more_and_a_longer_one_goes_on(search):
    short = run(search(n_trials=3))
    assert list(search(n_trials=3).run(None, None)) == []
    longer = run(search(n_trials=5))
    assert essence(longer[:3]) == essence(short)
    assert essence(search(n_trials=3).trials()) == essence(short)


def test_searches_of_another_kind_or_seed_do_not_mix(search):
    first = search()
    assert search(seed=1).file != first.file
    assert search(epochs=5).file != first.file
    assert search(n_trials=99).file == first.file
    assert search(place=Place(torch.device("cpu"), torch.bfloat16, 64)).file != first.file
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


def test_tables(search):
    made = search()
    trials = run(made)
    table = tuning.table(trials)
    assert table.columns[:4].tolist() == ["trial", "state", "validation_accuracy", "epochs"]
    assert len(table) == 6
    assert table.loc[0, "dropout_1"] == trials[0].params["dropout_1"]
    summary = json.loads(json.dumps(tuning.summary(made.best(), trials)))
    assert summary["params"] == made.best().params
    assert summary["epochs"] == sum(len(trial.curve) for trial in trials)
    assert tuning.summary(None, [])["trial"] is None
    assert len(tuning.table([]).columns) == len(table.columns)


def test_importance_finds_what_matters(search):
    made = search("wide", n_trials=40, pruner_startup_trials=99)
    run(made)
    importances = made.importances()
    assert max(importances, key=importances.get) == "dropout_1"  # the only one that `score` looks at
    assert search("empty").importances() == {}


def test_a_real_trial_trains_the_network(settings, params, tmp_path):
    from glassbox.data.store import Split

    labels = torch.arange(40) % 2
    images = torch.zeros(40, 8, 8, 3, dtype=torch.uint8)
    images[labels == 1] = 255
    split = Split(images, labels, None, torch.arange(40), None)
    made = tuning.Search(
        settings.model_copy(update={"n_trials": 1}), 0.9, "data", params.augment, 0, DATA, PLACE, tmp_path
    )
    records = [record for _, record in made.run(split, split)]
    assert [type(record) for record in records] == [Epoch] * (len(records) - 1) + [tuning.Trial]
    assert records[-1].curve == [record.validation_accuracy for record in records[:-1]]
