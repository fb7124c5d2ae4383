"""What of a scorecard stands in summaries. Imports next to nothing: the report needs no torch."""

from typing import TYPE_CHECKING

from glassbox.explainers.catalog import CONTROL, CONTROLLED, EXPLAINER, STRONGEST

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


def strongest_controls(card: "pd.DataFrame") -> dict[str, float]:
    """By `metric/strongest_control` the mean of the control with the best mean, and by `metric/strongest_control_low`
    and `_high` its interval where it has one, of the settings that rank."""
    shown = card[card["ranks"] & (card["kind"] == CONTROLLED) & (card["n"] > 0) & (card["direction"] != "unranked")]
    found = {}
    for metric, part in shown.groupby("metric", sort=False):
        higher = part["direction"].iloc[0] == "higher is better"
        best = part.loc[part["mean"].idxmax() if higher else part["mean"].idxmin()]
        ends = {f"_{end}": best[end] for end in ("low", "high") if best[end] == best[end]}
        for end, value in ({"": best["mean"]} | ends).items():
            found[f"{metric}/{STRONGEST}{end}"] = float(value)
    return found


def flat(means: dict[str, dict[str, float]]) -> dict[str, float]:
    """The same by `metric/explainer`, as MLflow's columns are called."""
    return {f"{metric}/{name}": mean for name, by in means.items() for metric, mean in by.items()}
