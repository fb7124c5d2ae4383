"""The section `tune`: the search and its space."""

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, ValidationInfo, field_validator, model_validator

from glassbox.config.model import IN_SPACE, check_complete, is_used
from glassbox.config.section import Section, rule
from glassbox.config.types import (
    CNN,
    SHARE_OR_GPUS,
    TUNED,
    Activation,
    Count,
    Gpus,
    Kernel,
    Optimizer,
    Pool,
    Positive,
    TrainingBatch,
    list_of,
)

if TYPE_CHECKING:
    from glassbox.config.compute import Compute
    from glassbox.config.model import Model
    from glassbox.config.train import Train


class Range(Section):
    """A float drawn from [low, high], on a log scale if `log`."""

    low: float
    high: float
    log: bool

    @model_validator(mode="after")
    def _ordered(self) -> "Range":
        if not self.low <= self.high:
            raise ValueError(f"low ({self.low}) must not be above high ({self.high})")
        if self.log and self.low <= 0:
            raise ValueError(f"low ({self.low}) must be above 0 on a log scale")
        return self


class Space(Section):
    """The search space of the CNN paper (figures 6-9), with the paper's names. The keys of its network may be left out
    for another one."""

    conv1_filters: list_of(Positive) = None
    conv1_kernel_size: list_of(Kernel) = None
    activation_func1: list_of(Activation) = None
    leaky_relu_alpha_1: Range = None
    l2_reg_1: Range = None
    pool_size_1: list_of(Pool) = None
    dropout_1: Range = None
    conv2_filters: list_of(Positive) = None
    conv2_kernel_size: list_of(Kernel) = None
    activation_func2: list_of(Activation) = None
    leaky_relu_alpha_2: Range = None
    l2_reg_2: Range = None
    pool_size_2: list_of(Pool) = None
    dense_units_1: list_of(Positive) = None
    dense_l2_reg_1: Range = None
    activation_func_dense: list_of(Activation) = None
    leaky_relu_alpha_3: Range = None
    dense_dropout_1: Range = None
    optimizer: list_of(Optimizer)
    adam_lr: Range
    sgd_lr: Range
    sgd_momentum: Range
    rmsprop_lr: Range
    rmsprop_rho: Range

    @field_validator("*")
    @classmethod
    def _within_what_the_network_takes(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, Range):
            if value.low < 0:
                raise ValueError(f"low ({value.low}) must not be below 0")
            if info.field_name.endswith("_lr") and value.high > 10:
                raise ValueError(f"high ({value.high}) must not be above 10")
            if not info.field_name.endswith("_lr") and value.high >= 1:
                raise ValueError(f"high ({value.high}) must be below 1")
        return value


class Tune(Section):
    n_trials: Count
    workers: Positive
    gpus: Annotated[Gpus | None, Field(description=SHARE_OR_GPUS)]
    startup_trials: Positive
    epochs: Positive
    batch_size: TrainingBatch
    patience: Positive
    pruner_startup_trials: Count
    pruner_warmup_epochs: Count
    space: Space

    @rule
    def _the_space_is_complete(self, model: "Model") -> None:
        if model.name == CNN:
            check_complete("tune.space", self.space)

    @rule
    def _trials_can_run_there(self, compute: "Compute") -> None:
        if self.gpus is not None and bool(self.gpus) != bool(compute.gpus):
            raise ValueError(
                f"tune.gpus is {self.gpus:g}: with compute.gpus = {compute.gpus:g} it must be "
                f"{'above 0' if compute.gpus else '0 or null'}"
            )

    @rule
    def _without_a_search_every_value_is_given(self, model: "Model", train: "Train") -> None:
        """A conditional value is needed only if its condition holds."""
        if self.n_trials:
            return
        chosen = dict(model) | dict(train)
        missing = [
            f"{section}.{name}"
            for section, keys in (("model", model), ("train", train))
            for name, value in keys
            if value == TUNED and is_used(IN_SPACE.get(name, name), model.name, chosen)
        ]
        if missing:
            raise ValueError(
                f"{', '.join(missing)} must be given a value: 'tuned' stands there, but tune.n_trials is 0"
            )
