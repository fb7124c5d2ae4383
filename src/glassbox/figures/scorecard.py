"""Figures of the scorecard: means with intervals, outcomes, ranks, cost, and randomization."""

from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.patches import Rectangle

from glassbox.explainers.catalog import (
    CONTROLLED,
    CONTROLS,
    EXPLAINER,
    EXPLAINERS,
    MATCHED,
    TITLES,
    UNTRAINED,
    control_of,
    title_of,
)
from glassbox.figures import shortcut
from glassbox.figures.style import BLUE, COLUMN, GREY, ORANGE, figure, panels, rows_of, wrapped
from glassbox.scoring import verdicts
from glassbox.scoring.exposure import Exposed
from glassbox.scoring.scorecard import Scorecard
from glassbox.scoring.verdicts import BEATS, LOSES, PLAUSIBILITY, images
from glassbox.statistics.outcomes import BETTER, UNDECIDED, WORSE
from glassbox.xai_metrics.catalog import MEASUREMENTS

# Explainers have filled markers, their two companions hollow ones: readable without colours, too.
LOOKS = {
    EXPLAINER: (BLUE, "o", BLUE, "explainer"),
    MATCHED: (BLUE, "D", "white", "the same, with the common number of forward passes"),
    UNTRAINED: (ORANGE, "s", "white", "the same, on an untrained network"),
    CONTROLLED: (GREY, "o", GREY, "control"),
}
MARKS = {BEATS: ("^", "better than every control"), LOSES: ("v", "worse than every control")}
ARROWS = {"higher is better": "→ better", "lower is better": "← better", "unranked": "unranked"}
COMPANIONS = {MATCHED: -0.2, UNTRAINED: 0.2}  # vertical offset from their explainer
# By explainer, the same in every study: Okabe & Ito's colours.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000")
SHAPES = dict(zip(TITLES, cycle("osD^vP*X"), strict=False))
OUTCOME_LOOKS = {BETTER: ("#a6cee3", "▲"), WORSE: ("#fdbf6f", "▼"), UNDECIDED: ("#f0f2f4", "?")}
COST = "forward + backward passes per map"


def forest(path: str | Path, card: pd.DataFrame, metrics: list[str], ranking: dict[str, Any]) -> None:
    """Means and 95 % intervals of every explainer and control in the ranking setting, one panel per metric; explainers
    by their mean rank, and marked where they are better, or worse, than every control. The card is the table of
    `scorecard.summarise`, the ranking that of `scorecard.rank`."""
    drawn = card[card["ranks"] & card["metric"].isin(metrics)]
    ranks = verdicts.mean_ranks(ranking)
    marks = {
        (name, metric): mark
        for name, by_metric in verdicts.tally(ranking).items()
        for metric, counts in by_metric.items()
        if metric in metrics and (mark := verdicts.mark(counts))
    }
    marked = set(marks.values())
    names = list(dict.fromkeys(drawn[drawn["kind"].isin((EXPLAINER, CONTROLLED))]["explainer"]))
    names = sorted(names, key=lambda name: (name in CONTROLS, ranks.get(name, np.inf)))[::-1]
    columns = 2 if len(metrics) == 4 else min(3, len(metrics))
    whole = min(2.6 * columns + 1.4, COLUMN)
    kinds = [kind for kind in LOOKS if kind in set(drawn["kind"])]
    across = min(2, columns)  # of the legend, whose entries are nearly as wide as a panel
    entries = len(kinds) + len(marked)
    height = (0.27 * len(names) + 0.75) * rows_of(len(metrics), columns) + 0.2 * rows_of(entries, across)
    with figure(path, whole, height) as drawing:
        axes = panels(drawing, len(metrics), columns, sharey=True)
        for axis, metric in zip(axes, metrics, strict=True):
            part = drawn[drawn["metric"] == metric]
            for row in part.itertuples():
                colour, marker, face, _ = LOOKS[row.kind]
                y = names.index(row.explainer) + COMPANIONS.get(row.kind, 0)
                width, size = (1, 3.5) if row.kind in COMPANIONS else (2, 5)
                axis.plot((row.low, row.high), (y, y), color=colour, linewidth=width)
                axis.plot(row.mean, y, marker, color=colour, markerfacecolor=face, markersize=size)
                if row.kind == EXPLAINER and (mark := marks.get((row.explainer, metric))):
                    axis.plot(row.mean, y + 0.24, MARKS[mark][0], color=colour, markersize=3.5)
            about = part.iloc[0]
            setting = f", {about.setting}" if about.setting else ""
            kind = f"{PLAUSIBILITY}, " if about.property == PLAUSIBILITY else ""
            text = f"{MEASUREMENTS[metric]}{setting}\n{kind}{ARROWS[about.direction]}"
            axis.set_xlabel(wrapped(text, (whole - 1.9) / columns, size=9))
            axis.grid(axis="x")
            if about.property in ("localization", PLAUSIBILITY) or (part["mean"].min() < 0 < part["mean"].max()):
                axis.axvline(0, color=GREY, linewidth=0.8)
            axis.set_yticks(range(len(names)), [title_of(name) for name in names])
            axis.set_ylim(-0.6, len(names) - 0.4)
        for colour, marker, face, label in (LOOKS[kind] for kind in kinds):
            axes[0].plot([], [], marker, color=colour, markerfacecolor=face, markersize=5, label=label)
        for mark in sorted(marked):
            sign, label = MARKS[mark]
            axes[0].plot([], [], sign, color=BLUE, markersize=5, label=label)
        drawing.legend(loc="outside lower center", ncols=across, fontsize=8)


def outcomes(path: str | Path, ranking: dict[str, Any]) -> None:
    """Outcome and typical difference of every explainer against every control by `scorecard.rank`, one panel per
    metric."""
    metrics = {metric: row for metric, row in ranking["metrics"].items() if row["controls"]}
    names = list(dict.fromkeys(test["explainer"] for row in metrics.values() for test in row["controls"]))
    columns = [*CONTROLS, UNTRAINED]
    across = min(2, len(metrics))
    height = (0.36 * len(names) + 1.6) * rows_of(len(metrics), across) + 0.4
    with figure(path, COLUMN if across > 1 else 4.8, height) as drawing:
        axes = panels(drawing, len(metrics), across, sharey=True)
        for axis, (metric, row) in zip(axes, metrics.items(), strict=True):
            for test in row["controls"]:
                x = columns.index(control_of(test["control"]))
                y = len(names) - 1 - names.index(test["explainer"])
                colour, sign = OUTCOME_LOOKS[test["outcome"]]
                axis.add_patch(Rectangle((x - 0.47, y - 0.46), 0.94, 0.92, facecolor=colour))
                text = f"{sign}\n{test['difference']:+.2f}" if test["difference"] is not None else sign
                axis.text(x, y, text, ha="center", va="center", fontsize=6.5)
            axis.set_xlim(-0.5, len(columns) - 0.5)
            axis.set_ylim(-0.5, len(names) - 0.5)
            axis.set_xticks(range(len(columns)), [*CONTROLS.values(), "untrained"], rotation=35, ha="right", fontsize=8)
            axis.set_yticks(range(len(names)), [TITLES[name] for name in names][::-1], fontsize=8)
            axis.tick_params(length=0)
            axis.spines[:].set_visible(False)
            arrow = "higher" if row["direction"] == "higher is better" else "lower"
            axis.set_title(f"{MEASUREMENTS[metric]}\n{arrow} is better, {images(row['controls'])}", fontsize=9)
        marks = [Rectangle((0, 0), 1, 1, color=colour) for colour, _ in OUTCOME_LOOKS.values()]
        words = [f"{sign} {what}" for what, (_, sign) in OUTCOME_LOOKS.items()]
        drawing.legend(marks, words, loc="outside lower center", ncols=3, fontsize=8)


def critical_difference(path: str | Path, metric: str, row: dict[str, Any]) -> None:
    """Mean ranks of the explainers among each other on a line, the best to the left; a bar joins those between which
    the corrected tests find no difference (Demšar 2006, Statistical Comparisons of Classifiers over Multiple Data Sets,
    figure 1, with pairwise Wilcoxon tests instead of Nemenyi's). The row is the metric's part of `scorecard.rank`."""
    ranks = row["mean_ranks"]
    names, bars = list(ranks), row["cliques"]
    half = (len(names) + 1) // 2
    below = 0.55 + 0.22 * len(bars)
    with figure(path, COLUMN, 0.24 * half + 0.16 * len(bars) + 1.3) as drawing:
        axis = drawing.subplots()
        left, right = 1, max(2, len(names))
        axis.hlines(0, left, right, color="black", linewidth=1)
        for tick in range(left, right + 1):
            axis.vlines(tick, 0, 0.15, color="black", linewidth=1)
            axis.text(tick, 0.25, str(tick), ha="center", va="bottom", fontsize=8)
        for place, name in enumerate(names):
            first = place < half  # named on the left, downwards; the others on the right, upwards
            depth = below + 0.62 * (place if first else len(names) - 1 - place)
            edge = left - 0.3 if first else right + 0.3
            axis.plot((ranks[name], ranks[name], edge), (0, -depth, -depth), color=BLUE, linewidth=1)
            text = f"{title_of(name)}  {ranks[name]:.1f}" if first else f"{ranks[name]:.1f}  {title_of(name)}"
            x, side = (edge - 0.08, "right") if first else (edge + 0.08, "left")
            axis.text(x, -depth, text, ha=side, va="center", fontsize=8, color=BLUE)
        for place, clique in enumerate(bars):
            ends = [ranks[name] for name in clique]
            height = -0.25 - 0.22 * place
            axis.hlines(height, min(ends) - 0.04, max(ends) + 0.04, color="black", linewidth=3)
        room = 0.42 * (right - left)
        axis.set_xlim(left - room, right + room)
        axis.set_ylim(-below - 0.62 * half, 0.8)
        axis.set_axis_off()
        meaning = "; a bar joins explainers without a significant difference" if bars else ""
        axis.set_title(f"Mean rank by {MEASUREMENTS[metric]}, {row['ranked']} images{meaning}", fontsize=9)


def faithfulness_and_cost(path: str | Path, card: pd.DataFrame) -> None:
    """Faithfulness against the sum of forward and backward passes per map, one panel per metric with values; a dotted
    line leads to the same explainer with the common number of forward passes. The card is as in `forest`."""
    ranked = card[card["ranks"] & (card["property"] == "faithfulness") & (card["n"] > 0)]
    metrics = list(dict.fromkeys(ranked["metric"]))
    passes = card[card["property"] == "cost"].groupby(["kind", "explainer"])["mean"].sum()
    names = list(dict.fromkeys(ranked[ranked["kind"] == EXPLAINER]["explainer"]))
    with figure(path, COLUMN, 2.6 * rows_of(len(metrics), 2) + 0.5) as drawing:
        axes = panels(drawing, len(metrics), 2)
        for axis, metric in zip(axes, metrics, strict=True):
            part = ranked[ranked["metric"] == metric].set_index(["kind", "explainer"])
            for place, name in enumerate(names):
                rows = part.loc[[(kind, name) for kind in (EXPLAINER, MATCHED) if (kind, name) in part.index]]
                axis.plot(passes[rows.index], rows["mean"], ":", color=_colour(name), linewidth=1)
                for row in rows.reset_index().itertuples():
                    x, filled = passes[row.kind, name], row.kind == EXPLAINER
                    axis.plot((x, x), (row.low, row.high), color=_colour(name), linewidth=1)
                    look = {"color": _colour(name), "markerfacecolor": _colour(name) if filled else "white"}
                    label = title_of(name) if filled and axis is axes[0] else None
                    axis.plot(x, row.mean, SHAPES[name], **look, markersize=6, label=label, zorder=3 + place)
            controls = part.xs(CONTROLLED, level="kind")["mean"]
            higher = part["direction"].iloc[0] == "higher is better"
            axis.axhline(controls.max() if higher else controls.min(), color=GREY, linestyle="--", linewidth=1)
            axis.set_xscale("log")
            axis.set_ylabel(f"{MEASUREMENTS[metric]} {'↑' if higher else '↓'}")
            axis.grid(axis="both")
        drawing.supxlabel(f"{COST}; hollow: common number of forward passes; dashed: best control", fontsize=8)
        drawing.legend(loc="outside upper center", ncols=4, fontsize=8)


def randomization(path: str | Path, curves: pd.DataFrame) -> None:
    """Entropy of the maps, and their rank correlation with the original ones, while the weights of more and more layers
    are randomised, from the table of `scoring.curves`."""
    labels = {"entropy_rise": "rise of the entropy, nats", "rank_agreement": "rank correlation\nwith the original map"}
    steps = curves.drop_duplicates("step").sort_values("step")
    names = [name for name in EXPLAINERS if name in set(curves["explainer"])]
    with figure(path, COLUMN, 3.2) as drawing:
        axes = drawing.subplots(1, 2)
        for axis, (column, text) in zip(axes, labels.items(), strict=True):
            means = curves.groupby(["explainer", "step"])[column].mean().sort_index()
            original = 1.0 if column == "rank_agreement" else 0.0
            for name in names:
                label = title_of(name) if axis is axes[0] else None
                values = [original, *means[name]]
                look = {"marker": SHAPES[name], "color": _colour(name), "markersize": 5}
                axis.plot(range(len(values)), values, label=label, **look)
            axis.axhline(0, color=GREY, linewidth=0.8)
            axis.set_ylabel(text)
            layers = ["none", *(name if len(name) <= 18 else f"…{name[-17:]}" for name in steps["randomised_from"])]
            axis.set_xticks(range(len(layers)), layers, rotation=30, ha="right", fontsize=7)
            axis.grid(axis="y")
        drawing.supxlabel("randomised from this layer to the output", fontsize=9)
        drawing.legend(loc="outside upper center", ncols=4, fontsize=8)


def _colour(name: str) -> str:
    """The colour of an explainer, the same in every study."""
    return COLOURS[list(TITLES).index(name) % len(COLOURS)]


def draw_all(folder: Path, scorecard: Scorecard) -> None:
    """`scorecard.png`, `outcomes.png`, `forest/` and `ranks/` with one per metric, `faithfulness_and_cost.png` and
    `randomization.png`, where it was measured."""
    card = scorecard.tables["scorecard"]
    measured = card[card["ranks"]].groupby("metric", sort=False)["mean"].apply(lambda means: np.isfinite(means).any())
    metrics = measured.index[measured].tolist()
    overview = card[card["property"].isin(("faithfulness", "localization", PLAUSIBILITY))]["metric"].unique().tolist()
    ranking = scorecard.ranking
    forest(folder / "scorecard.png", card, [metric for metric in overview if metric in metrics], ranking)
    for metric in metrics:
        forest(folder / "forest" / f"{metric}.png", card, [metric], ranking)
    for metric, row in ranking["metrics"].items():
        if len(row["mean_ranks"]) > 1:
            critical_difference(folder / "ranks" / f"{metric}.png", metric, row)
    if any(row["controls"] for row in ranking["metrics"].values()):
        outcomes(folder / "outcomes.png", ranking)
    faithfulness_and_cost(folder / "faithfulness_and_cost.png", card)
    if len(scorecard.tables["randomization"]):
        randomization(folder / "randomization.png", scorecard.tables["randomization"])


def draw_exposed(folder: Path, exposed: Exposed) -> None:
    """`shortcut.png`, the contrasts of all explainers, and `shortcut_maps.png`, the maps of one image."""
    shortcut.contrast(folder / "shortcut.png", exposed.contrast)
    maps = {name: (learnt[0], other[0]) for name, (learnt, other) in exposed.maps.items() if name not in CONTROLS}
    shortcut.pictures(folder / "shortcut_maps.png", exposed.images[0], exposed.masks[0], maps)
