"""The explainers side by side."""

from pathlib import Path

import pandas as pd

from glassbox.figures.style import BLUE, GREY, figure
from glassbox.names import MEASURES
from glassbox.xai_metrics.faithfulness import DELETION, INSERTION

METRICS = {m.name: f"{MEASURES[m.name]} (probability), {m.direction}" for m in (DELETION, INSERTION)}


def forest(path: str | Path, scorecard: pd.DataFrame, titles: dict[str, str], control: str) -> None:
    """Mean and interval of each explainer, a panel a metric; the dotted line is the control's mean.

    Args:
        scorecard: long form with explainer, metric, mean, low, high.
        titles: names of the explainers for people.
        control: name of the control.
    """
    names = list(dict.fromkeys(scorecard["explainer"]))[::-1]
    with figure(path, 3.4 * len(METRICS) + 0.8, 0.34 * len(names) + 1.1) as drawing:
        for place, (axis, (metric, text)) in enumerate(
            zip(drawing.subplots(1, len(METRICS), sharey=True, squeeze=False)[0], METRICS.items(), strict=True)
        ):
            part = scorecard[scorecard["metric"] == metric].set_index("explainer").loc[names]
            colours = [GREY if name == control else BLUE for name in names]
            for height, (row, colour) in enumerate(zip(part.itertuples(), colours, strict=True)):
                axis.plot((row.low, row.high), (height, height), color=colour, linewidth=2)
                axis.plot(row.mean, height, "o", color=colour)
            axis.axvline(part.loc[control, "mean"], color=GREY, linestyle=":", linewidth=1)
            axis.set_xlabel(text)
            axis.grid(axis="x")
            if place == 0:
                axis.set_yticks(range(len(names)), [titles[name] for name in names])
