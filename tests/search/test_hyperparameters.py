import json

import pytest
from conftest import SMALL_CNN, model

from glassbox.config.hyperparameters import Hyperparameters, together
from glassbox.core.errors import UserError
from glassbox.search import hyperparameters
from glassbox.search.hyperparameters import as_trained, conditions, of_trial, resolve, to_search
from tests.searches import known, space_of

ARGUMENTS = {
    "conv1_filters": 16, "conv1_kernel_size": 3, "activation_func1": "relu", "l2_reg_1": 1e-4, "pool_size_1": 2,
    "dropout_1": 0.2, "conv2_filters": 32, "conv2_kernel_size": 5, "activation_func2": "leaky_relu",
    "leaky_relu_alpha_2": 0.05, "l2_reg_2": 1e-3, "pool_size_2": 3, "dense_units_1": 64, "dense_l2_reg_1": 1e-5,
    "activation_func_dense": "relu", "dense_dropout_1": 0.4,
}  # fmt: skip
DRAWN = {f"model.arguments.{name}": value for name, value in ARGUMENTS.items()} | {
    "train.optimizer": "sgd", "train.learning_rate": 0.01, "train.momentum": 0.9
}  # fmt: skip


def best_of(params, drawn: dict | None = DRAWN) -> dict:
    """The content of best.json: a search in which trial 7 was the best, or none."""
    best = {"trial": 7 if drawn else None, "params": drawn or {}, "when": conditions(params.tune.options)}
    return json.loads(json.dumps(best))


def settings_of(found: Hyperparameters) -> tuple:
    return found.train.optimizer, found.train.learning_rate, found.train.momentum, found.train.rho


def test_values_of_the_search_are_used_and_recorded(params):
    found, choices = resolve(known(params), best_of(params))
    assert found == of_trial(known(params), DRAWN)
    assert found.model.arguments == ARGUMENTS | {"batch_norm_momentum": 0.9}, "what is not used is left out"
    assert settings_of(found) == ("sgd", 0.01, 0.9, None)
    assert found.augment == params.augment
    origin = {choice.key: (choice.value, choice.source) for choice in choices}
    assert origin["model.arguments.conv1_filters"] == (16, "tune, trial 7")
    assert origin["model.arguments.leaky_relu_alpha_1"] == (None, "not used")
    assert origin["model.arguments.leaky_relu_alpha_2"] == (0.05, "tune, trial 7")
    assert origin["model.arguments.batch_norm_momentum"] == (0.9, "params.yaml")
    assert origin["train.rho"] == (None, "not used")
    assert origin["model.weights"] == (None, "not used")
    assert len(origin) == 28  # five keys and nineteen arguments of the network, four of the optimizer


def test_a_value_of_the_parameters_takes_precedence(params):
    arguments = params.model.arguments | {"conv1_filters": 99}
    given = known(params, model={"arguments": arguments}, train={"learning_rate": 0.5})
    found, choices = resolve(given, best_of(params))
    assert found.model.arguments["conv1_filters"] == 99
    assert settings_of(found) == ("sgd", 0.5, 0.9, None)
    sources = {choice.key: choice.source for choice in choices}
    assert sources["model.arguments.conv1_filters"] == sources["train.learning_rate"] == "params.yaml"
    assert sources["train.momentum"] == "tune, trial 7"


def test_another_optimizer_than_the_best_trials_needs_its_values(params):
    sentence = r"train.learning_rate, train.rho must be given a value: .* best trial \(7\)"
    with pytest.raises(UserError, match=sentence):
        resolve(known(params, train={"optimizer": "rmsprop"}), best_of(params))
    values = {"optimizer": "rmsprop", "learning_rate": 0.002, "rho": 0.85}
    found, choices = resolve(known(params, train=values), best_of(params))
    assert settings_of(found) == ("rmsprop", 0.002, None, 0.85)
    assert {c.key: c.source for c in choices}["train.momentum"] == "not used"


def test_without_a_search_every_needed_value_must_be_given(params):
    sentence = r"model.arguments.conv1_filters, .*: 'tuned' stands there, but tune.n_trials is 0"
    with pytest.raises(UserError, match=sentence):
        resolve(known(params), best_of(params, drawn=None))
    arguments = params.model.arguments | ARGUMENTS  # the slopes that no activation needs stay "tuned"
    given = known(params, model={"arguments": arguments}, train={"optimizer": "adam", "learning_rate": 1e-3})
    found, choices = resolve(given, best_of(params, drawn=None))
    assert found.model.arguments == ARGUMENTS | {"batch_norm_momentum": 0.9}
    assert settings_of(found) == ("adam", 1e-3, None, None)
    assert {choice.source for choice in choices} == {"params.yaml", "not used"}
    row = {"key": "model.arguments.conv1_filters", "value": 16, "source": "params.yaml"}
    assert row in hyperparameters.table(choices)


def test_any_section_is_searched_and_what_was_found_is_read_from_the_table(params):
    given = known(params, train={"weight_decay": "tuned"}, augment={"crop": "tuned", "flip": "tuned"})
    space = params.tune.space | space_of(
        {"train.weight_decay": {"low": 0.0, "high": 0.1}, "augment": {"crop": [0, 4], "flip": [True, False]}}
    )
    best = {"trial": 2, "when": conditions(params.tune.model_copy(update={"space": space}).options)}
    found, choices = resolve(
        given, best | {"params": DRAWN | {"train.weight_decay": 0.03, "augment.crop": 4, "augment.flip": False}}
    )
    assert (found.train.weight_decay, found.augment.crop, found.augment.flip) == (0.03, 4, False)
    rows = json.loads(json.dumps(hyperparameters.table(choices)))
    assert as_trained(given.augment, rows) == found.augment
    assert as_trained(given.train, rows) == found.train
    assert as_trained(params.augment, rows) == params.augment, "given values are not in question"


def test_of_several_options_whose_conditions_hold_the_first_counts(params):
    """The second option is for adam alone, since the first takes precedence where both hold."""
    rates = {
        "large": {"low": 0.1, "high": 1.0, "when": {"train.optimizer": "sgd"}},
        "small": {"low": 1e-4, "high": 0.1, "when": {"train.optimizer": ["adam", "sgd"]}},
    }
    tune = params.tune.model_copy(update={"space": space_of({"train": {"learning_rate": rates}})})
    given = together(model("cnn", SMALL_CNN), params.train, params.augment)
    best = {"trial": 0, "params": {"train.learning_rate": 0.01}, "when": conditions(tune.options)}
    adam = {"optimizer": "adam", "momentum": None, "rho": None}
    with pytest.raises(UserError, match=r"train.learning_rate must be given a value"):
        resolve(
            given.model_copy(update={"train": params.train.model_copy(update=adam | {"optimizer": "sgd"})}),
            best | {"params": best["params"] | {"train.optimizer": "adam"}},
        )
    found, _ = resolve(given.model_copy(update={"train": params.train.model_copy(update=adam)}), best)
    assert found.train.learning_rate == 0.01


def test_a_network_of_torchvision_takes_the_optimizers_values_from_the_search(params):
    arguments = {"stem": "cifar", "dropout": 0.5}
    network = {"name": "torchvision/resnet18", "weights": "DEFAULT", "input_size": 64, "arguments": arguments}
    found, choices = resolve(known(params, model=network), best_of(params))
    assert found.model == params.model.model_copy(update=network)
    assert settings_of(found) == ("sgd", 0.01, 0.9, None)
    assert [choice.key for choice in choices] == [
        "model.name", "model.arguments.stem", "model.arguments.dropout", "model.weights", "model.classes",
        "model.normalization", "model.input_size", "train.optimizer", "train.learning_rate", "train.momentum",
        "train.rho",
    ]  # fmt: skip


def test_values_that_contradict_each_other_are_no_trial(params):
    with pytest.raises(UserError, match=r"params.yaml: train.momentum is null: with train.optimizer = sgd"):
        of_trial(known(params), {key: value for key, value in DRAWN.items() if key != "train.momentum"})


def test_a_given_value_of_a_searched_key_is_for_train_alone(params):
    arguments = params.model.arguments | {"conv1_filters": 99, "leaky_relu_alpha_1": 0.2}
    given = known(params, model={"arguments": arguments}, train={"learning_rate": 0.5, "momentum": 0.3})
    assert to_search(given, params.tune.space) == to_search(known(params), params.tune.space) == known(params)
    adam = {key: value for key, value in DRAWN.items() if key != "train.momentum"} | {"train.optimizer": "adam"}
    trial = of_trial(to_search(given, params.tune.space), adam)
    assert trial.model.arguments == ARGUMENTS | {"batch_norm_momentum": 0.9}
    assert settings_of(trial) == ("adam", 0.01, None, None)


def test_a_key_that_needs_a_value_keeps_it_in_trials_that_draw_none(params):
    space = space_of({"train.weight_decay": {"low": 0.0, "high": 0.1, "when": {"train.optimizer": "sgd"}}})
    given = together(model("cnn", SMALL_CNN), params.train.model_copy(update={"weight_decay": 0.02}), params.augment)
    searched = to_search(given, params.tune.space | space)
    assert searched.train.weight_decay == 0.02
    adam = {"train.optimizer": "adam", "train.learning_rate": 0.01}
    assert of_trial(searched, adam).train.weight_decay == 0.02
    sgd = {"train.optimizer": "sgd", "train.learning_rate": 0.01, "train.momentum": 0.9, "train.weight_decay": 0.05}
    assert of_trial(searched, sgd).train.weight_decay == 0.05
