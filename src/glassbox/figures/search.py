"""History and results of the search."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize

from glassbox.config.space import Option, Searched
from glassbox.figures.style import BLUE, COLUMN, GREY, ORANGE, RED, figure
from glassbox.search.outcome import Importances, is_loss

ACCURACY = "validation_accuracy"  # the default measure
SECOND = {"parameters": "parameters of the network", "forward_ms": "forward pass of one image (ms)"}
AXES = 8  # most hyperparameters in parallel coordinates
STATES = {"complete": (BLUE, "o"), "pruned": (ORANGE, "v"), "failed": (RED, "x")}


def _label(measure: str) -> str:
    return f"{measure.replace('_', ' ')} ({'nats' if is_loss(measure) else '%'})"


def _shown(measure: str) -> float:
    """What values are multiplied by to be drawn."""
    return 1 if is_loss(measure) else 100


def history(path: str | Path, trials: pd.DataFrame, measure: str = ACCURACY) -> None:
    """The measure of every trial, and the best complete one so far."""
    with figure(path, 6.5, 3.4) as drawing:
        axis, scale = drawing.subplots(), _shown(measure)
        worst = trials[measure].max() if is_loss(measure) else trials[measure].min()
        for state, (colour, marker) in STATES.items():
            part = trials[trials["state"] == state].fillna({measure: worst})
            if len(part):
                label = f"{state} ({len(part)})"
                axis.scatter(part["trial"], scale * part[measure], c=colour, marker=marker, label=label, zorder=3)
        complete = trials[measure].where(trials["state"] == "complete")
        best = (complete.cummin() if is_loss(measure) else complete.cummax()).ffill()
        axis.step(trials["trial"], scale * best, where="post", color=GREY, label="best so far")
        axis.set(xlabel="trial", ylabel=_label(measure), title="Search history")
        _finish(axis)


def learning_curves(path: str | Path, curves: list[list[float]], states: list[str], measure: str = ACCURACY) -> None:
    """The measure after each epoch of every trial; a curve that ends early was pruned or stopped."""
    with figure(path, 6.5, 3.4) as drawing:
        axis = drawing.subplots()
        for number, (curve, state) in enumerate(zip(curves, states, strict=True)):
            colour, marker = STATES[state]
            label = None if state in states[:number] else state
            epochs = np.arange(1, len(curve) + 1)
            axis.plot(
                epochs,
                _shown(measure) * np.array(curve),
                color=colour,
                alpha=0.6,
                marker=marker,
                markersize=3,
                label=label,
            )
        axis.set(xlabel="epoch", ylabel=_label(measure), title="Trials, epoch by epoch")
        _finish(axis)


def _finish(axis: Axes) -> None:
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.grid(axis="y")
    axis.legend()


def importance(path: str | Path, importances: Importances) -> None:
    """Importance of each hyperparameter, its share in the variation of the measure. Those that are grey, up to the
    dashed line, may be chance."""
    shares, chance = importances.shares, importances.by_chance
    names = sorted(shares, key=lambda name: shares[name])
    with figure(path, 6.5, 0.24 * len(names) + 1.4) as drawing:
        axis = drawing.subplots()
        colours = [BLUE if name in importances.above_chance else GREY for name in names]
        axis.barh(names, [shares[name] for name in names], color=colours)
        axis.axvline(chance, color="black", linestyle="--", linewidth=1, label="95 of 100 shuffled searches stay below")
        title = f"Hyperparameter importance, from {importances.trials} complete trials"
        axis.set(xlabel="importance (PED-ANOVA), share", title=title)
        axis.grid(axis="x")
        axis.set_axisbelow(True)
        drawing.legend(loc="outside lower center", fontsize=8)


def parallel_coordinates(
    path: str | Path,
    trials: pd.DataFrame,
    options: Sequence[Searched],
    measure: str = ACCURACY,
    importances: Importances | None = None,
) -> None:
    """Each trial as a line through its hyperparameters, coloured by its measure; pruned trials are dashed, unused
    hyperparameters leave a gap. Of more than `AXES` those with the largest importance are drawn, or where none is
    above chance those that most trials have."""
    used = [searched for searched in options if trials[searched.label].notna().any()]
    known = importances.shares if importances and importances.above_chance else {}

    def weight(searched: Searched) -> tuple[float, int]:
        return known.get(searched.label, 0.0), int(trials[searched.label].notna().sum())

    chosen = sorted(used, key=weight, reverse=True)[:AXES]
    shown = [searched for searched in used if searched in chosen]
    done = trials[trials[measure].notna()].sort_values(measure, ascending=not is_loss(measure))
    factor = _shown(measure)
    scale = Normalize(factor * done[measure].min(), factor * done[measure].max())
    colours = colormaps["viridis" if is_loss(measure) else "viridis_r"]  # the best are dark
    which = ""
    if len(shown) < len(used):
        why = "with the largest importance" if known else "that most trials have"
        which = f": the {len(shown)} of {len(used)} hyperparameters {why}"
    with figure(path, COLUMN, 3.8) as drawing:
        axis = drawing.subplots()
        for row in done.to_dict("records"):
            heights = [_height(row[searched.label], searched.option) for searched in shown]
            style = "-" if row["state"] == "complete" else (0, (2, 2))
            colour = colours(scale(factor * row[measure]))
            axis.plot(heights, color=colour, linestyle=style, linewidth=1.6, marker="o", markersize=3)
        box = {"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 0.6}
        for place, searched in enumerate(shown):
            axis.axvline(place, color="#d0d7de", linewidth=0.8, zorder=0)
            for height, text in _ticks(searched.option):
                axis.text(place + 0.06, height, text, fontsize=7.5, va="center", color="#24292f", bbox=box)
        axis.set_xticks(range(len(shown)), [searched.label for searched in shown], rotation=25, ha="right", fontsize=8)
        axis.set_yticks([])
        axis.set_title(f"Trials{which} (dashed: pruned)", fontsize=9)
        axis.set(xlim=(-0.3, len(shown) - 0.3), ylim=(-0.06, 1.06))
        axis.spines[["left", "bottom"]].set_visible(False)
        drawing.colorbar(ScalarMappable(scale, colours), ax=axis, label=_label(measure), pad=0.01)


def pareto(path: str | Path, trials: pd.DataFrame, measure: str, second: str) -> None:
    """Both objectives of every complete trial; a line joins those that no other trial beats in both."""
    done = trials[trials["state"] == "complete"].sort_values(measure, ascending=is_loss(measure), kind="stable")
    done = done.sort_values(second, kind="stable")  # of equal ones the best first
    costs = done[measure] if is_loss(measure) else -done[measure]
    front = done[costs < costs.cummin().shift(fill_value=np.inf)]
    with figure(path, 6.5, 3.8) as drawing:
        axis, scale = drawing.subplots(), _shown(measure)
        axis.scatter(done[second], scale * done[measure], color=GREY, label=f"complete trials ({len(done)})")
        axis.plot(front[second], scale * front[measure], "o-", color=BLUE, label=f"Pareto front ({len(front)})")
        for row in front.to_dict("records"):
            axis.annotate(str(row["trial"]), (row[second], scale * row[measure]), (4, 4), textcoords="offset points")
        axis.set(xlabel=SECOND[second], ylabel=_label(measure), title="Both objectives; numbers are trials")
        axis.set_xscale("log")
        axis.grid()
        axis.legend()


def draw_all(
    folder: Path,
    trials: pd.DataFrame,
    curves: list[list[float]],
    importances: Importances | None,
    options: Sequence[Searched],
    measure: str = ACCURACY,
    second: str | None = None,
) -> None:
    """All figures of a search; the importance only where it is known."""
    history(folder / "history.png", trials, measure)
    learning_curves(folder / "trials.png", curves, list(trials["state"]), measure)
    parallel_coordinates(folder / "parallel_coordinates.png", trials, options, measure, importances)
    if importances:
        importance(folder / "importance.png", importances)
    if second:
        pareto(folder / "pareto.png", trials, measure, second)


def _height(value: object, option: Option) -> float:
    """Position of a value on its axis, 0..1; NaN where the trial did not use the hyperparameter."""
    if pd.isna(value):
        return np.nan
    if option.choices is not None:
        return option.choices.index(value) / max(len(option.choices) - 1, 1)
    if option.high == option.low:
        return 0.5
    if option.log:
        return float(np.log(value / option.low) / np.log(option.high / option.low))
    return (value - option.low) / (option.high - option.low)


def _ticks(option: Option) -> list[tuple[float, str]]:
    if option.choices is None:
        return [(0.0, f"{option.low:g}"), (1.0, f"{option.high:g}")]
    return [(place / max(len(option.choices) - 1, 1), str(value)) for place, value in enumerate(option.choices)]
