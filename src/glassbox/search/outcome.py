"""The result of a search: its finished trials, as a table, and as a summary for the next stage."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from glassbox.config.tune import Space


@dataclass(frozen=True)
class Trial:
    """One finished trial.

    Attributes:
        number: from 0; trials that were interrupted and begun again count once.
        state: "complete", "pruned" or "failed".
        value: best of its epochs by the search's measure, 0..1; None for a failed trial.
        params: under the paper's names; only those that were drawn.
        curve: the measure after each epoch.
        seconds: wall time; 0 where it was not recorded.
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
    """One row a trial: number, state, value under the name of the measure, epochs, then every parameter in the order of
    the space."""
    rows = [{"trial": t.number, "state": t.state, measure: t.value, "epochs": len(t.curve)} | t.params for t in trials]
    given = [name for name in Space.model_fields if name in space.model_fields_set]
    columns = ["trial", "state", measure, "epochs", *given]
    return pd.DataFrame(rows, columns=columns)


def summary(best: Trial | None, trials: list[Trial], measure: str = "validation_accuracy") -> dict[str, Any]:
    """The outcome for the next stage: trial None and no params without a search."""
    if best is None:
        return {"trial": None, measure: None, "trials": 0, "epochs": 0, "params": {}}
    epochs = sum(len(trial.curve) for trial in trials)
    outcome = {"trial": best.number, measure: best.value, "trials": len(trials), "epochs": epochs}
    return outcome | {"params": best.params}
