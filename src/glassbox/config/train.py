"""The section `train`: how the network learns."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from glassbox.config.section import Section, rule
from glassbox.config.types import (
    NETWORK_FILES,
    TUNED,
    Above,
    Count,
    Fraction,
    Optimizer,
    Penalty,
    Positive,
    TrainingBatch,
    Tuned,
)

if TYPE_CHECKING:
    from glassbox.config.compute import Compute
    from glassbox.config.data import Data
    from glassbox.config.model import Model

NEEDS = {"sgd": "momentum", "rmsprop": "rho"}  # by optimizer, the key that it alone has


class Train(Section):
    epochs: Count | Tuned
    head_epochs: Count | Tuned
    workers: Annotated[int, Field(ge=1, le=4096)]
    batch_size: TrainingBatch | Tuned
    optimizer: Optimizer | Tuned
    learning_rate: Annotated[float, Field(gt=0, le=10)] | Tuned
    base_batch_size: Positive | Tuned | None
    momentum: Fraction | Tuned | None
    nesterov: bool | Tuned
    rho: Fraction | Tuned | None
    weight_decay: Penalty | Tuned
    decay_biases: bool | Tuned
    bias_rate: Annotated[float, Field(gt=0, le=1000)] | Tuned
    label_smoothing: Fraction | Tuned
    class_weights: Literal["balanced"] | Tuned | None
    sampling: Literal["shuffle", "balanced"] | Tuned
    patience: Positive | Tuned
    watch: Literal["loss", "penalized_loss"] | Tuned
    min_delta: Annotated[float, Field(ge=0, le=1000)] | Tuned
    keep: Literal["best", "last"] | Tuned
    ema_decay: Above | Tuned | None
    schedule: Literal["plateau", "one_cycle", "constant"] | Tuned
    warmup: Annotated[float, Field(gt=0, lt=1)] | Tuned
    lr_factor: Annotated[float, Field(gt=0, lt=1)] | Tuned
    lr_patience: Positive | Tuned
    min_learning_rate: Annotated[float, Field(ge=0, le=10)] | Tuned

    @rule
    def _workers_can_train_together(self, compute: "Compute") -> None:
        if self.workers > 1 and 0 < compute.gpus < 1:
            raise ValueError(
                f"compute.gpus is {compute.gpus:g}: with train.workers = {self.workers} it must be 0 or a whole "
                "number, for processes that train together cannot share a GPU"
            )
        if self.workers > 1 and compute.engine != "ray":
            raise ValueError(f"train.workers is {self.workers}: with compute.engine = {compute.engine} it must be 1")

    @rule
    def _the_optimizer_has_its_own_hyperparameter(self) -> None:
        for optimizer, key in NEEDS.items():
            if self.optimizer == optimizer and getattr(self, key) is None:
                raise ValueError(f"train.{key} is null: with train.optimizer = {optimizer} it must be a number")

    @rule
    def _nesterov_looks_ahead_by_momentum(self) -> None:
        if self.nesterov is not True:
            return
        if self.optimizer not in ("sgd", TUNED):
            raise ValueError(f"train.nesterov is true: with train.optimizer = {self.optimizer} it must be false")
        if self.momentum == 0:
            raise ValueError("train.nesterov is true: with train.momentum = 0 it must be false")

    @rule
    def _a_network_that_is_not_trained_has_weights(self, model: "Model", data: "Data") -> None:
        if self.epochs != 0:
            return
        if model.weights is None:
            raise ValueError("model.weights is null: with train.epochs = 0 it must name weights: nothing is trained")
        if data.planted is not None and data.planted.watermark:
            raise ValueError(
                f"data.planted.watermark is {data.planted.watermark!r}: with train.epochs = 0 it must be null, for it "
                "needs a second training"
            )

    @rule
    def _a_network_in_a_file_is_taken_as_it_is(self, model: "Model") -> None:
        if model.name in NETWORK_FILES and self.epochs != 0:
            raise ValueError(
                f"train.epochs is {self.epochs}: with model.name = {model.name} it must be 0, for the network in that "
                "file is taken as it is"
            )

    @rule
    def _classes_are_balanced_once(self) -> None:
        if self.class_weights == self.sampling == "balanced":
            raise ValueError(
                "train.class_weights is balanced: with train.sampling = balanced it must be null, for each of the two "
                "alone balances the classes"
            )

    @rule
    def _the_head_learns_within_the_training(self) -> None:
        if TUNED not in (self.head_epochs, self.epochs) and self.head_epochs > self.epochs:
            raise ValueError(
                f"train.head_epochs is {self.head_epochs}: it must not be above train.epochs, {self.epochs}"
            )


def is_balanced(class_weights: str | None, sampling: str) -> bool:
    """Whether training weighs all classes equally; validation then does as well."""
    return "balanced" in (class_weights, sampling)


def judged_by(class_weights: str | None, sampling: str) -> str:
    """The accuracy by which trainings are compared: a field of an epoch and of a trial's record."""
    return "validation_balanced_accuracy" if is_balanced(class_weights, sampling) else "validation_accuracy"
