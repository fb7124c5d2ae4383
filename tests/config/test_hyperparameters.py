"""The sections whose keys can be searched, taken together."""

import pytest

from glassbox.config.hyperparameters import Hyperparameters, together
from glassbox.core.errors import UserError


@pytest.fixture
def known(params) -> Hyperparameters:
    """Those of the shipped study."""
    return together(params.model, params.train, params.augment)


FOUND = {"train.optimizer": "adam", "train.learning_rate": 0.01, "model.arguments.conv1_filters": 8}


def test_every_key_has_a_value_and_each_argument_of_the_network_is_one(known, params):
    values = known.by_key()
    assert values["train.learning_rate"] == "tuned"
    assert values["augment.crop"] == 2
    assert values["model.weights"] is None
    assert values["model.arguments.batch_norm_momentum"] == 0.9
    assert "model.arguments" not in values
    sections = (params.model, params.train, params.augment)
    assert len(values) == sum(len(dict(section)) for section in sections) - 1 + len(params.model.arguments)


def test_keys_at_which_tuned_stands(known):
    assert set(known.tuned()) == {
        *(f"model.arguments.{name}" for name in known.model.arguments if name != "batch_norm_momentum"),
        "train.optimizer", "train.learning_rate", "train.momentum", "train.rho",
    }  # fmt: skip


def test_other_values_replace_those_of_the_file_and_what_is_unused_is_left_out(known):
    replaced = known.replaced(
        {**FOUND, "augment.crop": 0, "model.arguments.width": 3},
        unused={"model.arguments.leaky_relu_alpha_1", "model.arguments.never_there", "train.momentum"},
    )
    assert replaced.train.learning_rate == 0.01
    assert replaced.augment.crop == 0
    assert replaced.train.momentum is None
    arguments = {**known.model.arguments, "conv1_filters": 8, "width": 3}
    del arguments["leaky_relu_alpha_1"]
    assert replaced.model.arguments == arguments
    assert replaced.model.weights == known.model.weights
    assert known.model.arguments["conv1_filters"] == "tuned", "which stays as it was"
    assert replaced.tuned() == [key for key in known.tuned() if key in replaced.by_key() and key not in
                                {*FOUND, "train.momentum"}]  # fmt: skip


def test_nothing_replaced_is_the_same(known):
    assert known.replaced({}, unused=set()) == known


def test_a_network_without_arguments_has_none(known):
    bare = together(known.model.model_copy(update={"arguments": {}}), known.train, known.augment)
    assert not [key for key in bare.by_key() if key.startswith("model.arguments")]
    assert bare.replaced({"model.arguments.width": 3}, unused=set()).model.arguments == {"width": 3}


@pytest.mark.parametrize(
    ("values", "unused", "sentence"),
    [
        (
            {"train.optimizer": "sgd"},
            {"train.momentum"},
            "params.yaml: train.momentum is null: with train.optimizer = sgd it must be a number",
        ),
        (
            {"train.epochs": 2, "train.head_epochs": 3},
            set(),
            "params.yaml: train.head_epochs is 3: it must not be above train.epochs, 2",
        ),
        (
            {"augment.resize_first": True},
            set(),
            "params.yaml: augment.resize_first is true: model.input_size must then be a number, not null",
        ),
        (
            {"train.learning_rate": -1.0},
            set(),
            "params.yaml: train.learning_rate is -1.0, but must be greater than 0 or 'tuned'",
        ),
        ({"model.weights": "DEFAULT"}, set(), "params.yaml: model.weights is 'DEFAULT': with model.name = cnn it must"),
    ],
)
def test_values_that_are_not_allowed_together_are_refused(known, values, unused, sentence):
    with pytest.raises(UserError) as refused:
        known.replaced(values, unused)
    assert str(refused.value).startswith(sentence)
