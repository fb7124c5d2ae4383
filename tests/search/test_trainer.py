"""A trial trains as *train* would with the values that it draws."""

from dataclasses import asdict
from typing import Any

import pytest
import torch
from conftest import SMALL_CNN, model

from glassbox.config.hyperparameters import Hyperparameters, together
from glassbox.core.seeds import derive
from glassbox.data.store import Split
from glassbox.execution.compute import Place
from glassbox.search.hyperparameters import of_trial
from glassbox.search.trainer import Ended, Ready, Trainer
from glassbox.training import loop
from glassbox.training.loop import Training
from glassbox.training.records import COSTS
from tests.searches import DATA, PLACE, essence, run, search_of, small, space_of, steps
from tests.training.toys import learning

RECIPE = {
    "epochs": 4, "head_epochs": 1, "batch_size": 16, "weight_decay": 0.01, "label_smoothing": 0.1, "momentum": 0.9,
    "schedule": "one_cycle", "class_weights": "balanced", "watch": "penalized_loss",
}  # fmt: skip


@pytest.fixture
def sections(params) -> Hyperparameters:
    """A small network, a recipe with all that a recipe may have, and augmentation."""
    arguments = SMALL_CNN | {"l2_reg_1": 0.001}
    augment = params.augment.model_copy(update={"crop": 1, "flip": False})
    return together(model("cnn", arguments), learning("sgd", 0.05, **RECIPE), augment)


def noise(split: str) -> Split:
    """Forty images of two classes, three of four of the first, which differ a little in their brightness."""
    generator = torch.Generator().manual_seed(len(split))
    labels = (torch.arange(40) % 4 == 0).long()
    images = torch.randint(60, 256, (40, 8, 8, 3), dtype=torch.uint8, generator=generator)
    images[labels == 1] = images[labels == 1] // 2
    return Split(images, labels, None, torch.arange(40), None)


def lasting(epochs: list) -> list[dict[str, Any]]:
    """What is the same in equal trainings."""
    return [{key: value for key, value in asdict(epoch).items() if key not in COSTS} for epoch in epochs]


def trial(params, sections: Hyperparameters, drawn: dict[str, Any], place: Place = PLACE, **tune: Any) -> list[dict]:
    """The epochs of the trial of number 5 with these values."""
    settings = small(params, **{"patience": 99} | tune)
    records = Trainer(settings, sections, 0, DATA, place).records(5, noise("train"), noise("validation"))
    assert next(records) == Ready()
    *epochs, end = [records.send(drawn), *records]
    assert end == Ended("")
    return lasting(epochs)


@pytest.fixture
def as_trained(tmp_path, monkeypatch, sections):
    """The epochs of *train* with these values, from the seeds of that trial."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(loop, "derive", lambda seed, *_: derive(seed, "tune", "trial", 5))

    def epochs(drawn: dict[str, Any]) -> list[dict]:
        training = Training(of_trial(sections, drawn), DATA, seed=0)
        return lasting(training.begin(noise("train"), noise("validation"), PLACE)[1])

    return epochs


DRAWS = [
    {},
    {"train.optimizer": "adam", "train.learning_rate": 0.002},
    {"train.weight_decay": 0.3},
    {"train.batch_size": 7},
    {"train.label_smoothing": 0.4},
    {"train.schedule": "constant"},
    {"train.head_epochs": 3},
    {"train.sampling": "balanced", "train.class_weights": None},
    {"augment.crop": 3},
    {"augment.flip": True},
    {"model.normalization": "half"},
    {"model.arguments.dropout_1": 0.4, "model.arguments.conv1_filters": 6},
    {"train.epochs": 2},
]


@pytest.mark.parametrize("drawn", DRAWS, ids=str)
def test_a_trial_trains_exactly_as_train_would(params, sections, as_trained, drawn):
    assert trial(params, sections, drawn) == as_trained(drawn)


def test_every_searched_key_reaches_the_training(params, sections):
    results = [trial(params, sections, drawn) for drawn in DRAWS]
    assert all(results.count(result) == 1 for result in results)


def test_a_trial_has_at_most_the_epochs_of_a_search_and_its_schedule_ends_with_them(params, sections, as_trained):
    short = {"train.epochs": 2, "train.head_epochs": 2}
    found = trial(params, sections, {"train.head_epochs": 4}, epochs=2)
    assert found == as_trained(short)
    assert len(found) == 2
    rates = [epoch["learning_rate"] for epoch in trial(params, sections, {}, epochs=3)]
    assert rates == [epoch["learning_rate"] for epoch in as_trained({"train.epochs": 3})]
    # Nine steps from 0 to 8, the highest at 0.3 x 9 - 1 = 1.7: the first is 1/25 of the rate.
    assert rates[0] == pytest.approx(0.05 / 25)
    assert rates[1] > rates[2]


def test_a_trial_stops_after_the_patience_of_a_search_and_copies_no_weights(params, sections, monkeypatch):
    monkeypatch.setattr("glassbox.training.early_stopping.copy", None)  # the module
    never_better = {"train.min_delta": 100.0, "train.head_epochs": 0}
    assert len(trial(params, sections, never_better, patience=2)) == 3
    assert len(trial(params, sections, never_better | {"train.patience": 1}, patience=99)) == 4


TIMM = {
    "model.arguments": {
        "drop_rate": {"low": 0.0, "high": 0.5},
        "drop_path_rate": {"low": 0.0, "high": 0.2, "when": {"train.optimizer": "adam"}},
    },
    "train.optimizer": ["adam", "sgd"],
    "train.learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
    "train.weight_decay": {"low": 1e-5, "high": 1e-2, "log": True},
    "augment.crop": {"low": 0, "high": 4},
}


@pytest.mark.parametrize("stop_after", [1, 4, 8])
def test_a_search_over_a_network_of_timm_killed_in_a_trial_resumes_with_the_same_history(params, tmp_path, stop_after):
    changes = {
        "model": {"name": "timm/test_resnet", "arguments": {"drop_rate": "tuned"}, "input_size": 32},
        "train": {"momentum": 0.9, "batch_size": 16},
    }
    options = {"n_trials": 5, "startup_trials": 2, "epochs": 2, "seed": 2, "sections": changes, "space": space_of(TIMM)}

    def search(name: str):
        return search_of(Trainer, params, tmp_path / name, **options)

    whole = run(search("whole"))
    assert [trial.state == "failed" for trial in whole] == [False] * 5, [trial.reason for trial in whole]
    for found in whole:
        drops = {"model.arguments.drop_path_rate"} if found.by_key["train.optimizer"] == "adam" else set()
        always = {"model.arguments.drop_rate", "train.optimizer", "train.learning_rate", "train.weight_decay"}
        assert set(found.by_key) == always | {"augment.crop"} | drops
    assert {trial.by_key["train.optimizer"] for trial in whole} == {"adam", "sgd"}
    records = steps(search("killed"))
    for _ in range(stop_after):
        next(records)
    records.close()
    assert essence(run(search("killed"))) == essence(whole)
