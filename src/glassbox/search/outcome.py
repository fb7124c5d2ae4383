"""The result of a search: its finished trials, as a table, and as a summary for the next stage."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from glassbox.config.tune import Space


@dataclass(frozen=True)
class Trial:
    """One finished trial.

    Attributes:
        number: from 0; a trial that was interrupted and repeated counts once.
        state: "complete", "pruned" or "failed".
        value: the search's measure in its best epoch, 0..1; None for a failed trial.
        params: the drawn parameters, under the paper's names.
        curve: the measure after each epoch.
        seconds: wall time; 0 if not recorded.
        reason: why it failed, or "".
    """

    number: int
    state: str
    value: float | None
    params: dict[str, Any]
    curve: list[float]
    seconds: float
    reason: str


def table(trials: list[Trial], space: Space, measure: str = "validation_accuracy") -> pd.DataFrame:
    """One row for each trial: number, state, value (its column is named after the measure), number of epochs, and all
    parameters in the order of the space."""
    rows = [{"trial": t.number, "state": t.state, measure: t.value, "epochs": len(t.curve)} | t.params for t in trials]
    searched = [name for name in Space.model_fields if name in space.model_fields_set]
    return pd.DataFrame(rows, columns=["trial", "state", measure, "epochs", *searched])


def summary(best: Trial | None, trials: list[Trial], measure: str = "validation_accuracy") -> dict[str, Any]:
    """The result for the next stage: without a search `trial` is None and `params` is empty."""
    if best is None:
        return {"trial": None, measure: None, "trials": 0, "epochs": 0, "params": {}}
    epochs = sum(len(trial.curve) for trial in trials)
    outcome = {"trial": best.number, measure: best.value, "trials": len(trials), "epochs": epochs}
    return outcome | {"params": best.params}
