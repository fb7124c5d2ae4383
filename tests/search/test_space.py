"""What a trial draws."""

from collections import Counter

import optuna
import pytest

from glassbox.config import parameters
from glassbox.config.space import in_order
from glassbox.search import outcome
from glassbox.search.space import by_key, draw
from tests.searches import known, space_of

SLOPES = {"leaky_relu_alpha_1": "activation_func1", "leaky_relu_alpha_2": "activation_func2",
          "leaky_relu_alpha_3": "activation_func_dense"}  # fmt: skip
OF_OPTIMIZERS = {"adam": {"adam_lr"}, "sgd": {"sgd_lr", "sgd_momentum"}, "rmsprop": {"rmsprop_lr", "rmsprop_rho"}}


def draws(params, n: int, seed: int = 0, **sections: dict) -> list[tuple[dict, dict]]:
    """What `n` trials draw at random: by key, and by label."""
    study, given = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed)), known(params, **sections).by_key()
    trials = [study.ask() for _ in range(n)]
    return [(draw(trial, in_order(params.tune.options), given), trial.params) for trial in trials]


def searching(params, tree: dict):
    """The parameters with another space."""
    return params.model_copy(update={"tune": params.tune.model_copy(update={"space": space_of(tree)})})


def test_a_trial_draws_only_what_its_choices_call_for(params):
    arguments = {key.removeprefix("model.arguments."): key for key in params.tune.space if "arguments" in key}
    for drawn, labels in draws(params, 60):
        assert drawn == by_key(labels, params.tune.options)
        for slope, activation in SLOPES.items():
            assert (arguments[slope] in drawn) == (drawn[arguments[activation]] == "leaky_relu")
        names = set(labels) - set(arguments) - {"optimizer"}
        assert names == OF_OPTIMIZERS[drawn["train.optimizer"]]
        assert drawn["train.learning_rate"] == labels[f"{drawn['train.optimizer']}_lr"]
    found = [drawn for drawn, _ in draws(params, 60)]
    assert {drawn["model.arguments.conv1_filters"] for drawn in found} == {16, 32}
    rates = [drawn["train.learning_rate"] for drawn in found if drawn["train.optimizer"] == "adam"]
    assert min(rates) >= 1e-5
    assert max(rates) <= 1e-2
    assert sum(rate < 3e-4 for rate in rates) > len(rates) / 4  # half of them below the middle of the log scale


def slope(activation: str) -> dict:
    return {"": {"low": 0.01, "high": 0.3, "log": False, "when": {f"model.arguments.{activation}": "leaky_relu"}}}


def span(low: float, high: float, log: bool, of: str | None = None) -> dict:
    """A range, of an optimizer."""
    return {"low": low, "high": high, "log": log} | ({"when": {"train.optimizer": of}} if of else {})


def test_the_paper_space_is_the_cifar10_study():
    penalty = {"": span(1e-5, 1e-2, log=True)}
    arguments = {
        "conv1_filters": [32, 64, 128], "conv1_kernel_size": [3, 5, 7], "activation_func1": ["relu", "leaky_relu"],
        "leaky_relu_alpha_1": slope("activation_func1"), "l2_reg_1": penalty, "pool_size_1": [2, 3],
        "dropout_1": {"": span(0.1, 0.5, log=False)},
        "conv2_filters": [64, 128, 256], "conv2_kernel_size": [3, 5, 7], "activation_func2": ["relu", "leaky_relu"],
        "leaky_relu_alpha_2": slope("activation_func2"), "l2_reg_2": penalty, "pool_size_2": [2, 3],
        "dense_units_1": [64, 128, 256, 512], "dense_l2_reg_1": penalty,
        "activation_func_dense": ["relu", "leaky_relu"], "leaky_relu_alpha_3": slope("activation_func_dense"),
        "dense_dropout_1": {"": span(0.2, 0.7, log=False)},
    }  # fmt: skip
    expected = {f"model.arguments.{name}": value for name, value in arguments.items()} | {
        "train.optimizer": ["adam", "sgd", "rmsprop"],
        "train.learning_rate": {
            "adam_lr": span(1e-5, 1e-2, log=True, of="adam"),
            "sgd_lr": span(1e-4, 1e-1, log=True, of="sgd"),
            "rmsprop_lr": span(1e-5, 1e-2, log=True, of="rmsprop"),
        },
        "train.momentum": {"sgd_momentum": span(0.8, 0.99, log=False, of="sgd")},
        "train.rho": {"rmsprop_rho": span(0.8, 0.95, log=False, of="rmsprop")},
    }
    found = parameters.read("studies/cifar10-cnn.yaml").tune.space
    assert list(found) == list(expected)
    for key, named in expected.items():
        named = {"": {"choices": tuple(named)}} if isinstance(named, list) else named
        assert {name: option.model_dump(exclude_unset=True) for name, option in found[key].items()} == named


def objective(trial: optuna.Trial) -> dict:
    """The paper's search, as one writes it by hand with Optuna."""
    p = {
        "conv1_filters": trial.suggest_categorical("conv1_filters", [32, 64, 128]),
        "conv1_kernel_size": trial.suggest_categorical("conv1_kernel_size", [3, 5, 7]),
        "activation_func1": trial.suggest_categorical("activation_func1", ["relu", "leaky_relu"]),
        "l2_reg_1": trial.suggest_float("l2_reg_1", 1e-5, 1e-2, log=True),
        "pool_size_1": trial.suggest_categorical("pool_size_1", [2, 3]),
        "dropout_1": trial.suggest_float("dropout_1", 0.1, 0.5),
        "conv2_filters": trial.suggest_categorical("conv2_filters", [64, 128, 256]),
        "conv2_kernel_size": trial.suggest_categorical("conv2_kernel_size", [3, 5, 7]),
        "activation_func2": trial.suggest_categorical("activation_func2", ["relu", "leaky_relu"]),
        "l2_reg_2": trial.suggest_float("l2_reg_2", 1e-5, 1e-2, log=True),
        "pool_size_2": trial.suggest_categorical("pool_size_2", [2, 3]),
        "dense_units_1": trial.suggest_categorical("dense_units_1", [64, 128, 256, 512]),
        "dense_l2_reg_1": trial.suggest_float("dense_l2_reg_1", 1e-5, 1e-2, log=True),
        "activation_func_dense": trial.suggest_categorical("activation_func_dense", ["relu", "leaky_relu"]),
        "dense_dropout_1": trial.suggest_float("dense_dropout_1", 0.2, 0.7),
        "optimizer": trial.suggest_categorical("optimizer", ["adam", "sgd", "rmsprop"]),
    }
    for slope, activation in SLOPES.items():
        if p[activation] == "leaky_relu":
            p[slope] = trial.suggest_float(slope, 0.01, 0.3)
    if p["optimizer"] == "adam":
        p["adam_lr"] = trial.suggest_float("adam_lr", 1e-5, 1e-2, log=True)
    elif p["optimizer"] == "sgd":
        p["sgd_lr"] = trial.suggest_float("sgd_lr", 1e-4, 1e-1, log=True)
        p["sgd_momentum"] = trial.suggest_float("sgd_momentum", 0.8, 0.99)
    else:
        p["rmsprop_lr"] = trial.suggest_float("rmsprop_lr", 1e-5, 1e-2, log=True)
        p["rmsprop_rho"] = trial.suggest_float("rmsprop_rho", 0.8, 0.95)
    return p


def test_the_paper_space_draws_what_an_objective_written_by_hand_does():
    """Value by value, with random and with TPE's trials, which depend on the values found so far."""
    tune = parameters.read("studies/cifar10-cnn.yaml").tune
    sampler = {"n_startup_trials": 6, "multivariate": True, "group": True, "seed": 3}
    ours, by_hand = (optuna.create_study(sampler=optuna.samplers.TPESampler(**sampler)) for _ in range(2))
    for _ in range(20):
        mine, theirs = ours.ask(), by_hand.ask()
        draw(mine, in_order(tune.options), {})
        assert mine.params == objective(theirs)
        assert list(mine.params) == list(theirs.params), "in the same order"
        for study, trial in ((ours, mine), (by_hand, theirs)):
            study.tell(trial, trial.params["dropout_1"])


def test_alternatives_under_different_conditions_and_whole_numbers(params):
    """A depth of its own for each network, and a warm-up for one schedule: two labels of one key."""
    tree = {
        "model": {"name": ["timm/a", "timm/b"]},
        "model.arguments": {
            "depth": {
                "flat": {"low": 2, "high": 4, "when": {"model.name": "timm/a"}},
                "deep": {"choices": [10, 20], "when": {"model.name": "timm/b"}},
            },
            "width": {"low": 1, "high": 64, "log": True},
        },
        "train.warmup": {"low": 0.1, "high": 0.5, "when": {"train.schedule": ["one_cycle", "plateau"]}},
    }
    drawn = draws(searching(params, tree), 80, train={"schedule": "one_cycle"})
    depths = Counter((values["model.name"], values["model.arguments.depth"]) for values, _ in drawn)
    assert set(depths) == {("timm/a", n) for n in (2, 3, 4)} | {("timm/b", n) for n in (10, 20)}
    assert {frozenset(labels) & {"flat", "deep"} for _, labels in drawn} == {frozenset({"flat"}), frozenset({"deep"})}
    widths = [values["model.arguments.width"] for values, _ in drawn]
    assert {type(width) for width in widths} == {int}
    assert sum(width <= 8 for width in widths) > len(widths) / 4, "half of them, on a log scale"
    assert all(0.1 <= values["train.warmup"] <= 0.5 for values, _ in drawn)
    assert not any(
        "train.warmup" in values for values, _ in draws(searching(params, tree), 9, train={"schedule": "constant"})
    )


@pytest.mark.parametrize(("value", "is_drawn"), [(True, True), (False, False)])
def test_a_condition_may_be_on_a_given_value(params, value, is_drawn):
    tree = {"augment.crop": {"low": 1, "high": 8, "when": {"augment.flip": True, "model.arguments.conv1_filters": 7}}}
    arguments = {"arguments": {"conv1_filters": 7}}
    found = draws(searching(params, tree), 3, augment={"flip": value}, model=arguments)
    assert [set(values) for values, _ in found] == [{"augment.crop"} if is_drawn else set()] * 3


def test_an_option_comes_after_what_it_depends_on_and_the_first_that_holds_is_drawn(params):
    tree = {
        "augment.crop": {
            "little": {"low": 1, "high": 2, "when": {"augment.flip": True}},
            "much": {"low": 7, "high": 8, "when": {"augment.flip": [True, False]}},
        },
        "augment.flip": [True, False],
    }
    found = {(values["augment.flip"], values["augment.crop"]) for values, _ in draws(searching(params, tree), 40)}
    assert found == {(True, 1), (True, 2), (False, 7), (False, 8)}


def test_a_space_without_a_network_is_searched_by_its_optimizer_alone(params):
    space = {key: named for key, named in params.tune.space.items() if key.startswith("train.")}
    small = params.model_copy(update={"tune": params.tune.model_copy(update={"space": space})})
    expected = {frozenset({"optimizer"} | labels) for labels in OF_OPTIMIZERS.values()}
    assert {frozenset(labels) for _, labels in draws(small, 20)} == expected
    assert outcome.table([], small.tune.options, "validation_accuracy").columns[4:].tolist() == [
        "optimizer", "adam_lr", "sgd_lr", "rmsprop_lr", "sgd_momentum", "rmsprop_rho"
    ]  # fmt: skip
