"""The section `model`: the network, and which of its hyperparameters depend on others."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from glassbox.config.messages import shown
from glassbox.config.section import Section, rule
from glassbox.config.types import CNN, LARGEST, TUNED, Activation, Fraction, Kernel, Penalty, Pool, Positive, Tuned

# Hyperparameters of the search space that exist only together with one choice of another.
CONDITIONS = {
    "leaky_relu_alpha_1": ("activation_func1", "leaky_relu"),
    "leaky_relu_alpha_2": ("activation_func2", "leaky_relu"),
    "leaky_relu_alpha_3": ("activation_func_dense", "leaky_relu"),
    "adam_lr": ("optimizer", "adam"),
    "sgd_lr": ("optimizer", "sgd"),
    "sgd_momentum": ("optimizer", "sgd"),
    "rmsprop_lr": ("optimizer", "rmsprop"),
    "rmsprop_rho": ("optimizer", "rmsprop"),
}
IN_SPACE = {"momentum": "sgd_momentum", "rho": "rmsprop_rho"}  # what keys of the section train are called there

Leak = Annotated[float, Field(ge=0, lt=1)]
Name = Annotated[
    str,
    Field(
        pattern=r"^[a-z0-9_]+$",
        max_length=64,
        description="cnn or the name of a classification network of torchvision, like resnet18",
    ),
]


class Model(Section):
    """The network: the CNN paper's, with a value or `tuned` for each of its hyperparameters, or one of torchvision, for
    which these may be left out."""

    name: Name
    normalization: Literal["data", "imagenet", "half", "none"]
    input_size: Annotated[int, Field(ge=8, le=LARGEST)] | None
    batch_norm_momentum: Fraction
    weights: Annotated[str, Field(min_length=1)] | None
    stem: Literal["imagenet", "cifar"]
    dropout: Fraction
    conv1_filters: Positive | Tuned = TUNED
    conv1_kernel_size: Kernel | Tuned = TUNED
    activation_func1: Activation | Tuned = TUNED
    leaky_relu_alpha_1: Leak | Tuned = TUNED
    l2_reg_1: Penalty | Tuned = TUNED
    pool_size_1: Pool | Tuned = TUNED
    dropout_1: Fraction | Tuned = TUNED
    conv2_filters: Positive | Tuned = TUNED
    conv2_kernel_size: Kernel | Tuned = TUNED
    activation_func2: Activation | Tuned = TUNED
    leaky_relu_alpha_2: Leak | Tuned = TUNED
    l2_reg_2: Penalty | Tuned = TUNED
    pool_size_2: Pool | Tuned = TUNED
    dense_units_1: Positive | Tuned = TUNED
    dense_l2_reg_1: Penalty | Tuned = TUNED
    activation_func_dense: Activation | Tuned = TUNED
    leaky_relu_alpha_3: Leak | Tuned = TUNED
    dense_dropout_1: Fraction | Tuned = TUNED

    @rule
    def _the_cnn_is_as_in_its_paper(self) -> None:
        if self.name != CNN:
            return
        for key, wanted in {"weights": None, "stem": "imagenet", "dropout": 0.0}.items():
            value = getattr(self, key)
            if value != wanted:
                allowed = "null" if wanted is None else wanted  # without a word's quotes
                raise ValueError(f"model.{key} is {shown(value)}: with model.name = cnn it must be {allowed}")
        check_complete("model", self)


CNN_KEYS = tuple(name for name, field in Model.model_fields.items() if not field.is_required())


def check_complete(key: str, section: Section) -> None:
    """Check that a section has all keys of the CNN, which other networks may leave out.

    Raises:
        ValueError: one is missing.
    """
    absent = [name for name in CNN_KEYS if name not in section.model_fields_set]
    if absent:
        raise ValueError(f"{key}.{absent[0]} is missing: the network cnn needs it")


def network_keys(network: str) -> tuple[str, ...]:
    """The keys of the section `model` that are hyperparameters of a network."""
    return (*(CNN_KEYS if network == CNN else ("weights", "stem", "dropout")), "batch_norm_momentum")


def is_used(name: str, network: str, chosen: Mapping[str, Any]) -> bool:
    """Whether a hyperparameter of the search space exists for a network, given the chosen values of the hyperparameters
    in `CONDITIONS` that belong to it."""
    if name in CNN_KEYS and network != CNN:
        return False
    parent, wanted = CONDITIONS.get(name, (None, None))
    return parent is None or chosen[parent] == wanted
