"""`model.arguments` of the network `cnn`: checked without PyTorch, whose import takes longer than all other checks."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field

from glassbox.config.messages import checked
from glassbox.config.section import Section
from glassbox.config.types import Fraction, Penalty, Positive
from glassbox.config.yaml_file import PARAMS_FILE

Activation = Literal["relu", "leaky_relu"]
Pool = Annotated[int, Field(ge=1, le=8)]
Leak = Annotated[float, Field(ge=0, lt=1)] | None


def _odd(value: int) -> int:
    if value % 2 == 0:
        raise ValueError("a kernel size must be odd, so that 'same' padding is symmetric")
    return value


Kernel = Annotated[int, Field(ge=1, le=15), AfterValidator(_odd)]


class Hyperparameters(Section):
    """The network's own hyperparameters under the paper's names; a leaky_relu_alpha is needed where leaky_relu is
    chosen.

    `batch_norm_momentum` counts as in Keras: the share that the running statistics keep at each step.
    """

    conv1_filters: Positive
    conv1_kernel_size: Kernel
    activation_func1: Activation
    leaky_relu_alpha_1: Leak = None
    l2_reg_1: Penalty
    pool_size_1: Pool
    dropout_1: Fraction
    conv2_filters: Positive
    conv2_kernel_size: Kernel
    activation_func2: Activation
    leaky_relu_alpha_2: Leak = None
    l2_reg_2: Penalty
    pool_size_2: Pool
    dense_units_1: Positive
    dense_l2_reg_1: Penalty
    activation_func_dense: Activation
    leaky_relu_alpha_3: Leak = None
    dense_dropout_1: Fraction
    batch_norm_momentum: Fraction


class _Model(BaseModel):
    arguments: Hyperparameters


class _Params(BaseModel):
    model: _Model


def hyperparameters(arguments: Mapping[str, Any]) -> Hyperparameters:
    """Those of `model.arguments`; a UserError if one is wrong, missing or unknown."""
    return checked(_Params, {"model": {"arguments": dict(arguments)}}, PARAMS_FILE).model.arguments
