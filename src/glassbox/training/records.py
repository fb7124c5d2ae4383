"""Records of a training: one for each epoch, and their summary."""

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from glassbox.core.errors import UserError

if TYPE_CHECKING:
    import pandas as pd


COSTS = ("seconds", "images_per_second", "peak_memory")  # fields of a record that differ from run to run


@dataclass(frozen=True)
class Epoch:
    """Results of one epoch. Losses are mean cross-entropies in nats. Of a network that is not trained there is one
    record, with NaN for what only a training has."""

    epoch: int  # from 1; 0 = not trained
    train_loss: float  # over the epoch's own batches, with augmentation and dropout, like the accuracy
    train_accuracy: float
    # After the epoch. If training counts every class the same, the mean over classes of their mean losses.
    validation_loss: float
    validation_accuracy: float
    weight_penalty: float  # sum of lambda * sum(w^2) over the penalised kernels, after the epoch
    learning_rate: float  # used in this epoch
    is_best: bool  # the watched loss, see `Recipe`, is the lowest so far
    seconds: float  # of the whole epoch
    images_per_second: float  # of its training part
    peak_memory: float  # highest memory use so far, GiB; see `compute.peak_memory`
    validation_balanced_accuracy: float  # mean recall over the classes
    validation_macro_f1: float  # mean F1 over the classes

    def metrics(self) -> dict[str, float]:
        """Numbers that are drawn against the epoch."""
        values = {name: value for name, value in asdict(self).items() if name not in ("epoch", "is_best")}
        return {name: value for name, value in values.items() if not math.isnan(value)}


class Diverged(UserError):
    """The loss is no longer a number."""


def summary(table: "pd.DataFrame", keep: str) -> dict[str, float]:
    """Number and validation of the epoch whose weights were kept ("best" or "last"), and the number of epochs; `table`
    has a row for each epoch, with the fields of `Epoch`."""
    kept = (table if keep == "last" else table[table["is_best"]]).iloc[-1]
    names = ("validation_loss", "validation_accuracy", "validation_balanced_accuracy", "weight_penalty")
    numbers = {f"best_epoch_{name}": float(kept[name]) for name in names}
    return numbers | {"best_epoch": int(kept["epoch"]), "epochs": int(table["epoch"].iloc[-1])}


def costs(table: "pd.DataFrame") -> dict[str, list[float]]:
    """Times and memory of every epoch; none of a network that was not trained."""
    return table.loc[table["epoch"] > 0, ["epoch", *COSTS]].to_dict("list")


def in_words(numbers: dict[str, float], measure: str, arm: str, place: str) -> str:
    """A `summary` in words: the number of epochs, of which arm and where, and the epoch whose weights are kept, with a
    measure from `config.judged_by`."""
    accuracy = f"{100 * numbers[f'best_epoch_{measure}']:.2f} % {measure.replace('_', ' ')}"
    if not numbers["epochs"]:
        return f"taken as it is, nothing trained: {accuracy} on {place}"
    of = f"the arm {arm}, " if arm else ""
    return f"trained {of}{numbers['epochs']} epochs on {place}; kept: epoch {numbers['best_epoch']}, {accuracy}"
