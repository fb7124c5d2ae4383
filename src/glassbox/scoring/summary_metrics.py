"""What of a scorecard stands in summaries. Imports next to nothing: the report needs no torch."""

from typing import TYPE_CHECKING

from glassbox.explainers.catalog import CONTROL, CONTROLLED, EXPLAINER

if TYPE_CHECKING:
    import pandas as pd


def headline(card: "pd.DataFrame") -> dict[str, dict[str, float]]:
    """Means of the explainers, and of the random control, by explainer and metric, of the settings that rank; see
    `scorecard.summarise`."""
    subjects = (card["kind"] == EXPLAINER) | ((card["kind"] == CONTROLLED) & (card["explainer"] == CONTROL))
    shown = card[card["ranks"] & subjects & (card["n"] > 0)]
    return {
        name: {row.metric: row.mean for row in part.itertuples()}
        for name, part in shown.groupby("explainer", sort=False)
    }


def flat(means: dict[str, dict[str, float]]) -> dict[str, float]:
    """The same by `metric/explainer`, as MLflow's columns are called."""
    return {f"{metric}/{name}": mean for name, by in means.items() for metric, mean in by.items()}
