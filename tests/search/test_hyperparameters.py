import pytest

from glassbox import models
from glassbox.core.errors import UserError
from glassbox.search import hyperparameters
from glassbox.training.optimizers import OptimizerSettings

FOUND = {
    "conv1_filters": 16, "conv1_kernel_size": 3, "activation_func1": "relu", "l2_reg_1": 1e-4, "pool_size_1": 2,
    "dropout_1": 0.2, "conv2_filters": 32, "conv2_kernel_size": 5, "activation_func2": "leaky_relu",
    "leaky_relu_alpha_2": 0.05, "l2_reg_2": 1e-3, "pool_size_2": 3, "dense_units_1": 64, "dense_l2_reg_1": 1e-5,
    "activation_func_dense": "relu", "dense_dropout_1": 0.4, "optimizer": "sgd", "sgd_lr": 0.01, "sgd_momentum": 0.9,
}  # fmt: skip


def test_values_of_the_search_are_used_and_recorded(params):
    network, optimizer, choices = hyperparameters.resolve(params.model, params.train, FOUND, trial=7)
    known = hyperparameters.unsearched(
        "cnn", "data", None, batch_norm_momentum=0.9, weights=None, stem="imagenet", dropout=0.0
    )
    assert known.hyperparameters == {"batch_norm_momentum": 0.9}
    assert network == hyperparameters.network_of(FOUND, known)
    assert network.hyperparameters["leaky_relu_alpha_1"] is None
    assert optimizer == hyperparameters.optimizer_of(FOUND) == OptimizerSettings("sgd", 0.01, 0.9, None)
    origin = {choice.key: (choice.value, choice.source) for choice in choices}
    assert origin["model.conv1_filters"] == (16, "tune, trial 7")
    assert origin["model.leaky_relu_alpha_1"] == (None, "not used")
    assert origin["model.leaky_relu_alpha_2"] == (0.05, "tune, trial 7")
    assert origin["model.batch_norm_momentum"] == (0.9, "params.yaml")
    assert origin["train.rho"] == (None, "not used")
    assert len(origin) == 23  # nineteen of the network, four of the optimizer


def test_a_value_of_the_parameters_takes_precedence(params):
    model = params.model.model_copy(update={"conv1_filters": 99})
    train = params.train.model_copy(update={"learning_rate": 0.5})
    network, optimizer, choices = hyperparameters.resolve(model, train, FOUND, trial=7)
    assert (network.hyperparameters["conv1_filters"], optimizer.learning_rate, optimizer.momentum) == (99, 0.5, 0.9)
    sources = {choice.key: choice.source for choice in choices}
    assert sources["model.conv1_filters"] == sources["train.learning_rate"] == "params.yaml"
    assert sources["train.momentum"] == "tune, trial 7"


def test_another_optimizer_than_the_best_trials_needs_its_values(params):
    train = params.train.model_copy(update={"optimizer": "rmsprop"})
    with pytest.raises(UserError, match=r"train.learning_rate, train.rho must be given a value: .* best trial \(7\)"):
        hyperparameters.resolve(params.model, train, FOUND, trial=7)


def test_without_a_search_every_needed_value_must_be_given(params):
    with pytest.raises(UserError, match=r"model.conv1_filters, .*: 'tuned' stands there, but tune.n_trials is 0"):
        hyperparameters.resolve(params.model, params.train, {}, trial=None)
    values = {key: FOUND.get(key, "tuned") for key in type(params.model).model_fields}
    values |= {"batch_norm_momentum": 0.9, "name": "cnn"}
    train = params.train.model_copy(update={"optimizer": "adam", "learning_rate": 1e-3})
    network, optimizer, choices = hyperparameters.resolve(params.model.model_copy(update=values), train, {}, trial=None)
    assert network.hyperparameters["conv2_kernel_size"] == 5
    assert optimizer == OptimizerSettings("adam", 1e-3)
    assert {choice.source for choice in choices} == {"params.yaml", "not used"}
    assert hyperparameters.table(choices)[0] == {"key": "model.conv1_filters", "value": 16, "source": "params.yaml"}


def test_a_network_of_torchvision_takes_its_own_keys_and_the_optimizers_values_from_the_search(params):
    values = {"name": "resnet18", "weights": "DEFAULT", "dropout": 0.5, "input_size": 64}
    model = params.model.model_copy(update=values)
    network, optimizer, choices = hyperparameters.resolve(model, params.train, FOUND, trial=7)
    assert network == models.Spec(
        "resnet18",
        {"weights": "DEFAULT", "stem": "imagenet", "dropout": 0.5, "batch_norm_momentum": 0.9},
        "data",
        64,
    )
    known = hyperparameters.unsearched("resnet18", "data", 64, **network.hyperparameters)
    assert hyperparameters.network_of(FOUND, known) == network
    assert optimizer == OptimizerSettings("sgd", 0.01, 0.9, None)
    assert [choice.key for choice in choices] == [
        "model.weights", "model.stem", "model.dropout", "model.batch_norm_momentum", "train.optimizer",
        "train.learning_rate", "train.momentum", "train.rho",
    ]  # fmt: skip
