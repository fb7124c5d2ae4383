"""The scorecard in pictures: means with intervals, ranks with what tells them apart, and what faithfulness costs."""

from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
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
from glassbox.figures.style import BLUE, GREY, ORANGE, figure
from glassbox.scoring.exposure import Exposed
from glassbox.scoring.scorecard import Scorecard
from glassbox.scoring.verdicts import images
from glassbox.statistics.outcomes import BETTER, UNDECIDED, WORSE
from glassbox.xai_metrics.catalog import MEASUREMENTS

# An explainer as it is set stands out; its two companions are hollow, so that no row hangs on colour alone.
LOOKS = {
    EXPLAINER: (BLUE, "o", BLUE, "explainer"),
    MATCHED: (BLUE, "D", "white", "the same, with the common number of forward passes"),
    UNTRAINED: (ORANGE, "s", "white", "the same, on an untrained network"),
    CONTROLLED: (GREY, "o", GREY, "control"),
}
ARROWS = {"higher is better": "→ better", "lower is better": "← better", "unranked": "unranked"}
COMPANIONS = {MATCHED: -0.2, UNTRAINED: 0.2}  # where they stand beside their explainer
# By explainer, the same in every study. Okabe & Ito's colours.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000")
SHAPES = dict(zip(TITLES, cycle("osD^vP*X"), strict=False))
OUTCOME_LOOKS = {BETTER: ("#a6cee3", "▲"), WORSE: ("#fdbf6f", "▼"), UNDECIDED: ("#f0f2f4", "?")}
COST = "forward + backward passes of a map"


def forest(path: str | Path, card: pd.DataFrame, metrics: list[str]) -> None:
    """Means and 95 % intervals of every explainer and control, a panel a metric, three in a row.

    Args:
        card: of `scorecard.summarise`; the setting that ranks is drawn.
        metrics: to draw.
    """
    drawn = card[card["ranks"] & card["metric"].isin(metrics)]
    names = list(dict.fromkeys(drawn[drawn["kind"].isin((EXPLAINER, CONTROLLED))]["explainer"]))[::-1]
    across = 2 if len(metrics) == 4 else min(3, len(metrics))
    down = -(-len(metrics) // across)
    with figure(path, 2.6 * across + 1.4, (0.27 * len(names) + 0.75) * down + 0.4) as drawing:
        axes = drawing.subplots(down, across, sharey=True, squeeze=False)
        for axis in axes.flat[len(metrics) :]:
            axis.set_axis_off()
        for axis, metric in zip(axes.flat, metrics, strict=False):
            part = drawn[drawn["metric"] == metric]
            for row in part.itertuples():
                colour, marker, face, _ = LOOKS[row.kind]
                height = names.index(row.explainer) + COMPANIONS.get(row.kind, 0)
                size = 3.5 if row.kind in COMPANIONS else 5
                axis.plot((row.low, row.high), (height, height), color=colour, linewidth=1 if size < 5 else 2)
                axis.plot(row.mean, height, marker, color=colour, markerfacecolor=face, markersize=size)
            about = part.iloc[0]
            setting = f", {about.setting}" if about.setting else ""
            axis.set_xlabel(f"{MEASUREMENTS[metric]}{setting}\n{ARROWS[about.direction]}")
            axis.grid(axis="x")
            if about.property == "localization" or (part["mean"].min() < 0 < part["mean"].max()):
                axis.axvline(0, color=GREY, linewidth=0.8)
            axis.set_yticks(range(len(names)), [title_of(name) for name in names])
            axis.set_ylim(-0.6, len(names) - 0.4)
        kinds = [kind for kind in LOOKS if kind in set(drawn["kind"])]
        marks = [_mark(axes[0, 0], kind) for kind in kinds]
        drawing.legend(marks, [LOOKS[kind][3] for kind in kinds], loc="outside lower center", ncols=2, fontsize=8)


def _mark(axis: Axes, kind: str) -> Any:
    colour, marker, face, _ = LOOKS[kind]
    return axis.plot([], [], marker, color=colour, markerfacecolor=face, markersize=5)[0]


def outcomes(path: str | Path, ranking: dict[str, Any]) -> None:
    """Every explainer against every control, a panel a metric: better, worse or undecided, with the typical difference.

    Args:
        ranking: of `scorecard.rank`.
    """
    metrics = {metric: row for metric, row in ranking["metrics"].items() if row["controls"]}
    names = list(dict.fromkeys(test["explainer"] for row in metrics.values() for test in row["controls"]))
    columns = [*CONTROLS, UNTRAINED]
    across = min(2, len(metrics))
    down = -(-len(metrics) // across)
    with figure(path, 4.6 * across + 1.2, (0.36 * len(names) + 1.5) * down + 0.4) as drawing:
        axes = drawing.subplots(down, across, sharey=True, squeeze=False)
        for axis in axes.flat[len(metrics) :]:
            axis.set_axis_off()
        for axis, (metric, row) in zip(axes.flat, metrics.items(), strict=False):
            for test in row["controls"]:
                place = columns.index(control_of(test["control"]))
                height = len(names) - 1 - names.index(test["explainer"])
                colour, sign = OUTCOME_LOOKS[test["outcome"]]
                axis.add_patch(Rectangle((place - 0.48, height - 0.46), 0.96, 0.92, color=colour))
                text = f"{sign}\n{test['difference']:+.2f}" if test["difference"] is not None else sign
                axis.text(place, height, text, ha="center", va="center", fontsize=7)
            axis.set_xlim(-0.5, len(columns) - 0.5)
            axis.set_ylim(-0.5, len(names) - 0.5)
            axis.set_xticks(range(len(columns)), [*CONTROLS.values(), "untrained"], rotation=35, ha="right", fontsize=8)
            axis.set_yticks(range(len(names)), [TITLES[name] for name in names][::-1], fontsize=8)
            axis.tick_params(length=0)
            for spine in axis.spines.values():
                spine.set_visible(False)
            arrow = "higher" if row["direction"] == "higher is better" else "lower"
            axis.set_title(f"{MEASUREMENTS[metric]} ({arrow} is better), {images(row['controls'])}", fontsize=9)
        marks = [Rectangle((0, 0), 1, 1, color=colour) for colour, _ in OUTCOME_LOOKS.values()]
        words = [f"{sign} {what}" for what, (_, sign) in OUTCOME_LOOKS.items()]
        drawing.legend(marks, words, loc="outside lower center", ncols=3, fontsize=8)


def critical_difference(path: str | Path, metric: str, row: dict[str, Any]) -> None:
    """Mean ranks on a line, the best to the left; a bar joins neighbouring explainers that the corrected tests do not
    tell apart (Demšar 2006, Statistical Comparisons of Classifiers over Multiple Data Sets, figure 1, with pairwise
    Wilcoxon tests in place of Nemenyi's). Controls have ranks and no bars: they are not tested against each other.

    Args:
        metric: name.
        row: of `scorecard.rank`.
    """
    ranks = row["mean_ranks"]
    names, bars = list(ranks), row["cliques"]
    half = (len(names) + 1) // 2
    below = 0.55 + 0.22 * len(bars)
    with figure(path, 7.2, 0.24 * half + 0.16 * len(bars) + 1.3) as drawing:
        axis = drawing.subplots()
        left, right = 1, max(2, len(names))
        axis.hlines(0, left, right, color="black", linewidth=1)
        for tick in range(left, right + 1):
            axis.vlines(tick, 0, 0.15, color="black", linewidth=1)
            axis.text(tick, 0.25, str(tick), ha="center", va="bottom", fontsize=8)
        for place, name in enumerate(names):
            first = place < half  # the better half is named on the left, from the top; the others on the right, upwards
            depth = below + 0.62 * (place if first else len(names) - 1 - place)
            edge = left - 0.3 if first else right + 0.3
            colour = GREY if name in CONTROLS else BLUE
            axis.plot((ranks[name], ranks[name], edge), (0, -depth, -depth), color=colour, linewidth=1)
            text = f"{title_of(name)}  {ranks[name]:.1f}" if first else f"{ranks[name]:.1f}  {title_of(name)}"
            side = ("right", -0.08) if first else ("left", 0.08)
            axis.text(edge + side[1], -depth, text, ha=side[0], va="center", fontsize=8, color=colour)
        for place, names_of in enumerate(bars):
            ends = [ranks[name] for name in names_of]
            height = -0.25 - 0.22 * place
            axis.hlines(height, min(ends) - 0.04, max(ends) + 0.04, color="black", linewidth=3)
        room = 0.42 * (right - left)
        axis.set_xlim(left - room, right + room)
        axis.set_ylim(-below - 0.62 * half, 0.8)
        axis.set_axis_off()
        same = "; a bar joins explainers that are not told apart" if bars else ""
        axis.set_title(f"Mean rank by {MEASUREMENTS[metric]}, {row['ranked']} images{same}", fontsize=9)


def faithfulness_and_cost(path: str | Path, card: pd.DataFrame) -> None:
    """Faithfulness against the sum of the forward and backward passes of a map, a panel for each metric that has
    values; a line leads to the same explainer with the common number of forward passes.

    Args:
        card: of `scorecard.summarise`.
    """
    ranked = card[card["ranks"] & (card["property"] == "faithfulness") & (card["n"] > 0)]
    metrics = list(dict.fromkeys(ranked["metric"]))
    paid = card[card["property"] == "cost"].groupby(["kind", "explainer"])["mean"].sum()
    names = list(dict.fromkeys(ranked[ranked["kind"] == EXPLAINER]["explainer"]))
    with figure(path, 7.2, 2.6 * -(-len(metrics) // 2) + 0.5) as drawing:
        axes = drawing.subplots(-(-len(metrics) // 2), 2, squeeze=False)
        for axis in axes.flat[len(metrics) :]:
            axis.set_axis_off()
        for axis, metric in zip(axes.flat, metrics, strict=False):
            part = ranked[ranked["metric"] == metric].set_index(["kind", "explainer"])
            for place, name in enumerate(names):
                colour = COLOURS[list(TITLES).index(name) % len(COLOURS)]
                kinds = [kind for kind in (EXPLAINER, MATCHED) if (kind, name) in part.index]
                points = [(paid[kind, name], part.loc[(kind, name), "mean"]) for kind in kinds]
                axis.plot(*zip(*points, strict=True), ":", color=colour, linewidth=1)
                for (x, y), kind in zip(points, kinds, strict=True):
                    low, high = part.loc[(kind, name), ["low", "high"]]
                    axis.plot((x, x), (low, high), color=colour, linewidth=1)
                    face = colour if kind == EXPLAINER else "white"
                    label = title_of(name) if kind == EXPLAINER and axis is axes[0, 0] else None
                    axis.plot(
                        x,
                        y,
                        SHAPES[name],
                        color=colour,
                        markerfacecolor=face,
                        markersize=6,
                        label=label,
                        zorder=3 + place,
                    )
            chance = part.xs(CONTROLLED, level="kind")["mean"]
            best = chance.max() if part["direction"].iloc[0] == "higher is better" else chance.min()
            axis.axhline(best, color=GREY, linestyle="--", linewidth=1)
            axis.set_xscale("log")
            arrow = "↑" if part["direction"].iloc[0] == "higher is better" else "↓"
            axis.set_ylabel(f"{MEASUREMENTS[metric]} {arrow}")
            axis.grid(axis="both")
        drawing.supxlabel(f"{COST}; hollow: common number of forward passes; dashed: best control", fontsize=8)
        drawing.legend(loc="outside upper center", ncols=4, fontsize=8)


def randomization(path: str | Path, curves: pd.DataFrame) -> None:
    """How much more complex maps become, and how alike they stay, while layers lose what they learnt: from nothing
    changed (entropy as before, correlation 1) to all weights lost.

    Args:
        curves: of `scoring.curves`.
    """
    panels = {"entropy_rise": "rise of the entropy, nats", "rank_agreement": "rank correlation\nwith the map before"}
    steps = curves.drop_duplicates("step").sort_values("step")
    names = [name for name in EXPLAINERS if name in set(curves["explainer"])]
    with figure(path, 7.2, 3.2) as drawing:
        axes = drawing.subplots(1, 2)
        for axis, (column, text) in zip(axes, panels.items(), strict=True):
            means = curves.groupby(["explainer", "step"])[column].mean().sort_index()
            for name in names:
                colour = COLOURS[list(TITLES).index(name) % len(COLOURS)]
                label = title_of(name) if axis is axes[0] else None
                before = float(column == "rank_agreement")
                course = [before, *means[name]]
                axis.plot(range(len(course)), course, marker=SHAPES[name], color=colour, label=label, markersize=5)
            axis.axhline(0, color=GREY, linewidth=0.8)
            axis.set_ylabel(text)
            layers = ["none", *_layers(steps["randomised_from"])]
            axis.set_xticks(range(len(layers)), layers, rotation=30, ha="right", fontsize=7)
            axis.grid(axis="y")
        drawing.supxlabel("randomised from this layer to the output", fontsize=9)
        drawing.legend(loc="outside upper center", ncols=4, fontsize=8)


def _layers(names: pd.Series) -> list[str]:
    """Long names of layers keep their end."""
    return [name if len(name) <= 18 else f"…{name[-17:]}" for name in names]


def draw_all(folder: Path, found: Scorecard) -> None:
    """`scorecard.png`, `outcomes.png`, `forest/` and `ranks/` with one a metric, `faithfulness_and_cost.png`,
    `randomization.png`."""
    card = found.tables["scorecard"]
    measured = card[card["ranks"]].groupby("metric", sort=False)["mean"].apply(lambda means: np.isfinite(means).any())
    metrics = measured.index[measured].tolist()
    overview = card[card["property"].isin(("faithfulness", "localization"))]["metric"].unique().tolist()
    forest(folder / "scorecard.png", card, [metric for metric in overview if metric in metrics])
    for metric in metrics:
        forest(folder / "forest" / f"{metric}.png", card, [metric])
    for metric, row in found.ranking["metrics"].items():
        if row["mean_ranks"]:
            critical_difference(folder / "ranks" / f"{metric}.png", metric, row)
    if any(row["controls"] for row in found.ranking["metrics"].values()):
        outcomes(folder / "outcomes.png", found.ranking)
    faithfulness_and_cost(folder / "faithfulness_and_cost.png", card)
    randomization(folder / "randomization.png", found.tables["randomization"])


def draw_exposed(folder: Path, exposed: Exposed) -> None:
    """`shortcut.png`, the contrast of all, and `shortcut_maps.png`, the maps of one image."""
    shortcut.contrast(folder / "shortcut.png", exposed.contrast)
    maps = {name: (one[0], other[0]) for name, (one, other) in exposed.maps.items() if name not in CONTROLS}
    shortcut.pictures(folder / "shortcut_maps.png", exposed.images[0], exposed.masks[0], maps)
