"""Confusion matrix, calibration and mistakes of the classifier."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.image import AxesImage

from glassbox.evaluation.calibration import expected_calibration_error
from glassbox.figures.style import BLUE, COUNTS, GREY, ORANGE, figure, short


def confusion(path: str | Path, matrix: np.ndarray, classes: tuple[str, ...]) -> None:
    """Counts, coloured by their share of the row (true class). Above 30 classes there are no numbers, above 60 only
    every fifth, tenth, ... class is named."""
    k = len(classes)
    side = min(max(0.52 * k + 1.6, 4.2), 14)
    with figure(path, side + 0.6, side) as drawing:
        axis = drawing.subplots()
        picture = heatmap(axis, matrix, fontsize=8)
        slanted = max(map(len, classes)) > 3
        named = range(0, k, 1 if k <= 60 else 5 * -(-k // 300))
        names = [short(classes[label]) for label in named]
        axis.set_xticks(named, names, rotation=45 if slanted else 0, ha="right" if slanted else "center")
        axis.set_yticks(named, names)
        axis.set(xlabel="predicted", ylabel="true", title=f"Confusion matrix ({matrix.sum()} test images)")
        drawing.colorbar(picture, ax=axis, label="share of the true class (%)", shrink=0.8)


def heatmap(axis: Axes, matrix: np.ndarray, fontsize: float) -> AxesImage:
    """The cells of a confusion matrix of counts or mean counts, coloured by their share of the row; rounded numbers for
    at most 30 classes. Returns the image, for a colour bar."""
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    axis.spines[:].set_visible(False)
    if len(matrix) <= 30:
        for (row, column), count in np.ndenumerate(matrix):
            if count:
                colour = "white" if share[row, column] > 0.5 else "#24292f"
                axis.text(column, row, f"{count:.0f}", ha="center", va="center", color=colour, fontsize=fontsize)
    return axis.imshow(100 * share, cmap=COUNTS, vmin=0, vmax=100)


def reliability(path: str | Path, tables: dict[str, pd.DataFrame]) -> None:
    """Accuracy against confidence in bins, and how many test images each bin holds: a column for each table of
    `calibration.reliability`, by the name of the probabilities, like "as trained"."""
    images, bins = next((int(table["count"].sum()), len(table)) for table in tables.values())
    with figure(path, 4.0 * len(tables), 4.8) as drawing:
        drawing.suptitle(f"{images:,} test images in {bins} bins")
        axes = drawing.subplots(2, len(tables), height_ratios=(3, 1), sharex=True, squeeze=False)
        for column, (name, table) in enumerate(tables.items()):
            title = f"{name[0].upper()}{name[1:]}\nECE {100 * expected_calibration_error(table):.1f} %"
            top, bottom = axes[:, column]
            middle, width = 50 * (table["low"] + table["high"]), 100 * (table["high"] - table["low"])
            top.plot((0, 100), (0, 100), color=GREY, linestyle=":", label="perfectly calibrated")
            top.bar(middle, 100 * table["accuracy"], width, color=BLUE, alpha=0.75, edgecolor="white", label="accuracy")
            means = 100 * table["confidence"], 100 * table["accuracy"]
            top.plot(*means, "o", color=ORANGE, markersize=4, clip_on=False, label="bin means")
            top.set(title=title, xlim=(0, 100), ylim=(0, 100))
            bottom.bar(middle, table["count"], width, color=GREY, edgecolor="white")
            bottom.set(xlabel="confidence (%)")
        axes[0, 0].set_ylabel("accuracy (%)")
        axes[1, 0].set_ylabel("images")
        shown = axes[0, 0].get_legend_handles_labels()
        drawing.legend(*shown, loc="outside lower center", ncols=3, columnspacing=1.2, fontsize=8)


def mistakes(
    path: str | Path, images: np.ndarray, labels: np.ndarray, p: np.ndarray, classes: tuple[str, ...], n: int
) -> None:
    """The `n` most confident mistakes, at most eight in a row; without any, a title that says so. Images are
    (N, H, W, 3) uint8, labels (N,), and `p` the probabilities (N, K)."""
    wrong = np.flatnonzero(p.argmax(axis=1) != labels)
    shown = wrong[np.argsort(-p[wrong].max(axis=1), kind="stable")][:n]
    columns = min(max(len(shown), 5), 8)
    rows = max(-(-len(shown) // columns), 1)
    with figure(path, 1.35 * columns, 1.7 * rows + 0.4) as drawing:
        drawing.suptitle(
            f"The most confident of {len(wrong)} mistakes" if len(wrong) else "No mistake on the test images"
        )
        axes = drawing.subplots(rows, columns, squeeze=False)
        for axis in axes.flat:
            axis.set_axis_off()
        for axis, row in zip(axes.flat, shown, strict=False):
            guess = p[row].argmax()
            axis.imshow(images[row], interpolation="nearest")
            predicted, true = short(classes[guess], 12), short(classes[labels[row]], 18)
            axis.set_title(f"{predicted} ({100 * p[row, guess]:.0f} %)\ntrue: {true}", fontsize=7.5)
