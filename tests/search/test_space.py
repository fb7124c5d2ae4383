"""What a trial draws."""

import optuna

from glassbox.config import parameters
from glassbox.config.model import CNN_KEYS, CONDITIONS
from glassbox.search import outcome
from glassbox.search.space import draw


def test_a_trial_draws_only_what_its_choices_call_for(params):
    drawn = []
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(60):
        drawn.append(draw(study.ask(), params.tune.space, "cnn"))
    for values in drawn:
        for name, (parent, wanted) in CONDITIONS.items():
            assert (name in values) == (values[parent] == wanted)
    space = params.tune.space
    assert {values["conv1_filters"] for values in drawn} == set(space.conv1_filters)
    rates = [values["adam_lr"] for values in drawn if "adam_lr" in values]
    assert min(rates) >= space.adam_lr.low
    assert max(rates) <= space.adam_lr.high
    assert sum(rate < 3e-4 for rate in rates) > len(rates) / 4  # half of them below the middle of the log scale


def test_the_paper_space_is_the_cifar10_study():
    space = parameters.read("studies/cifar10-cnn.yaml").tune.space
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


def test_another_network_is_searched_by_its_optimizer_alone(params):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = [draw(study.ask(), params.tune.space, "resnet18") for _ in range(20)]
    assert not any(set(values) & set(CNN_KEYS) for values in drawn)
    assert {frozenset(values) for values in drawn} == {
        frozenset({"optimizer", "adam_lr"}),
        frozenset({"optimizer", "sgd_lr", "sgd_momentum"}),
        frozenset({"optimizer", "rmsprop_lr", "rmsprop_rho"}),
    }
    tree = {key: value for key, value in params.tune.space.model_dump().items() if key not in CNN_KEYS}
    small = type(params.tune.space).model_validate(tree)
    assert draw(study.ask(), small, "resnet18").keys() <= set(small.model_fields_set)
    assert outcome.table([], small).columns[4:].tolist() == [
        "optimizer", "adam_lr", "sgd_lr", "sgd_momentum", "rmsprop_lr", "rmsprop_rho"
    ]  # fmt: skip
