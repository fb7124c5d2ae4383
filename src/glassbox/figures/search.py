"""History and results of the search."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize

from glassbox.config.tune import Range, Space
from glassbox.figures.style import BLUE, GREY, ORANGE, RED, figure

ACCURACY = "validation_accuracy"  # the default measure
STATES = {"complete": (BLUE, "o"), "pruned": (ORANGE, "v"), "failed": (RED, "x")}


def _label(measure: str) -> str:
    return f"{measure.replace('_', ' ')} (%)"


def history(path: str | Path, trials: pd.DataFrame, measure: str = ACCURACY) -> None:
    """The measure of every trial, and the best complete one so far."""
    with figure(path, 6.5, 3.4) as drawing:
        axis = drawing.subplots()
        floor = trials[measure].min(skipna=True)
        for state, (colour, marker) in STATES.items():
            part = trials[trials["state"] == state].fillna({measure: floor})
            if len(part):
                label = f"{state} ({len(part)})"
                axis.scatter(part["trial"], 100 * part[measure], c=colour, marker=marker, label=label, zorder=3)
        best = trials[measure].where(trials["state"] == "complete").cummax().ffill()
        axis.step(trials["trial"], 100 * best, where="post", color=GREY, label="best so far")
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
            axis.plot(epochs, 100 * np.array(curve), color=colour, alpha=0.6, marker=marker, markersize=3, label=label)
        axis.set(xlabel="epoch", ylabel=_label(measure), title="Trials, epoch by epoch")
        _finish(axis)


def _finish(axis: Axes) -> None:
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.grid(axis="y")
    axis.legend()


def importance(path: str | Path, importances: dict[str, float], n_complete: int) -> None:
    """Importance of each hyperparameter: its share in the variation of the measure."""
    names = sorted(importances, key=lambda name: importances[name])
    with figure(path, 6.5, 0.24 * len(names) + 1.1) as drawing:
        axis = drawing.subplots()
        axis.barh(names, [importances[name] for name in names], color=BLUE)
        title = f"Hyperparameter importance, from {n_complete} complete trials"
        axis.set(xlabel="importance (PED-ANOVA), share", title=title)
        axis.grid(axis="x")
        axis.set_axisbelow(True)


def parallel_coordinates(path: str | Path, trials: pd.DataFrame, space: Space, measure: str = ACCURACY) -> None:
    """Each trial as a line through its hyperparameters, coloured by its measure; pruned trials are dashed, unused
    hyperparameters leave a gap."""
    shown = [name for name in Space.model_fields if name in trials and trials[name].notna().any()]
    done = trials[trials[measure].notna()].sort_values(measure)
    scale = Normalize(100 * done[measure].min(), 100 * done[measure].max())
    colours = colormaps["viridis_r"]
    with figure(path, 0.62 * len(shown) + 1.6, 4.6) as drawing:
        axis = drawing.subplots()
        for row in done.to_dict("records"):
            heights = [_height(row[name], getattr(space, name)) for name in shown]
            style = "-" if row["state"] == "complete" else (0, (2, 2))
            colour = colours(scale(100 * row[measure]))
            axis.plot(heights, color=colour, linestyle=style, linewidth=1.6, marker="o", markersize=3)
        box = {"facecolor": "white", "alpha": 0.7, "linewidth": 0, "pad": 0.6}
        for place, name in enumerate(shown):
            axis.axvline(place, color="#d0d7de", linewidth=0.8, zorder=0)
            for height, text in _ticks(getattr(space, name)):
                axis.text(place + 0.06, height, text, fontsize=6.5, va="center", color="#24292f", bbox=box)
        axis.set_xticks(range(len(shown)), shown, rotation=40, ha="right")
        axis.set_yticks([])
        axis.set(title="Trials in the search space (dashed: pruned)")
        axis.set(xlim=(-0.3, len(shown) - 0.2), ylim=(-0.06, 1.06))
        axis.spines[["left", "bottom"]].set_visible(False)
        drawing.colorbar(ScalarMappable(scale, colours), ax=axis, label=_label(measure), pad=0.01)


def draw_all(
    folder: Path,
    trials: pd.DataFrame,
    curves: list[list[float]],
    importances: dict[str, float],
    space: Space,
    measure: str = ACCURACY,
) -> None:
    """All figures of a search; the importance only if it is known (two complete trials differ)."""
    history(folder / "history.png", trials, measure)
    learning_curves(folder / "trials.png", curves, list(trials["state"]), measure)
    parallel_coordinates(folder / "parallel_coordinates.png", trials, space, measure)
    if importances:
        importance(folder / "importance.png", importances, int((trials["state"] == "complete").sum()))


def _height(value: object, choice: Range | tuple) -> float:
    """Position of a value on its axis, 0..1; NaN where the trial did not use the hyperparameter."""
    if pd.isna(value):
        return np.nan
    if not isinstance(choice, Range):
        # pandas holds whole numbers as floats where a column has gaps.
        place = [str(c) for c in choice].index(f"{value:g}" if isinstance(value, float) else str(value))
        return place / max(len(choice) - 1, 1)
    if choice.high == choice.low:
        return 0.5
    if choice.log:
        return float(np.log(value / choice.low) / np.log(choice.high / choice.low))
    return (value - choice.low) / (choice.high - choice.low)


def _ticks(choice: Range | tuple) -> list[tuple[float, str]]:
    if isinstance(choice, Range):
        return [(0.0, f"{choice.low:g}"), (1.0, f"{choice.high:g}")]
    return [(place / max(len(choice) - 1, 1), str(value)) for place, value in enumerate(choice)]
