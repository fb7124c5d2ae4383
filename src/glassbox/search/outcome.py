"""The result of a search: its finished trials, as a table, and as a summary for the next stage."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from glassbox.config.space import Searched
from glassbox.search.hyperparameters import conditions


@dataclass(frozen=True)
class Trial:
    """One finished trial.

    Attributes:
        number: from 0; a trial that was interrupted and repeated counts once.
        state: "complete", "pruned" or "failed".
        value: the search's measure in its best epoch; None for a failed trial.
        params: the drawn parameters, by the labels of their options.
        by_key: the same by key.
        curve: the measure after each epoch.
        cost: the second objective; None without one, and unless the trial is complete.
        seconds: wall time; 0 if not recorded.
        reason: why it failed, or "".
    """

    number: int
    state: str
    value: float | None
    params: dict[str, Any]
    by_key: dict[str, Any]
    curve: list[float]
    cost: float | None
    seconds: float
    reason: str


@dataclass(frozen=True)
class Importances:
    """How much each hyperparameter matters to the measure."""

    shares: dict[str, float]  # by hyperparameter, 0..1; their sum is 1
    by_chance: float  # a larger share is no chance, at 95 % for all hyperparameters together
    trials: int  # complete ones, from which they were computed

    @property
    def above_chance(self) -> list[str]:
        """The hyperparameters whose share is no chance."""
        return [name for name, share in self.shares.items() if share > self.by_chance]


def table(trials: list[Trial], options: Sequence[Searched], measure: str, second: str | None = None) -> pd.DataFrame:
    """One row for each trial: number, state, value (its column is named after the measure), the second objective if
    there is one, number of epochs, and all parameters by the labels of their options."""
    rows = []
    for t in trials:
        row = {"trial": t.number, "state": t.state, measure: t.value} | ({second: t.cost} if second else {})
        rows.append(row | {"epochs": len(t.curve)} | t.params)
    columns = ["trial", "state", measure, *([second] if second else []), "epochs"]
    return pd.DataFrame(rows, columns=[*columns, *(option.label for option in options)])


def summary(best: Trial | None, trials: list[Trial], options: Sequence[Searched], measure: str) -> dict[str, Any]:
    """The result for the next stage: without a search `trial` is None and `params` is empty."""
    when = conditions(options)
    if best is None:
        return {"trial": None, "measure": measure, "value": None, "trials": 0, "epochs": 0, "params": {}, "when": when}
    epochs = sum(len(trial.curve) for trial in trials)
    outcome = {"trial": best.number, "measure": measure, "value": best.value, "trials": len(trials), "epochs": epochs}
    return outcome | {"params": best.by_key, "when": when}


def is_loss(measure: str) -> bool:
    """Whether a measure of the search is a loss: lower is better, and its unit is nats, not a share."""
    return measure.endswith("loss")


def shown(value: float, measure: str, digits: int = 1) -> str:
    """A value of the measure for a sentence: a loss in nats, another in percent."""
    return f"{value:.4f}" if is_loss(measure) else f"{100 * value:.{digits}f} %"
