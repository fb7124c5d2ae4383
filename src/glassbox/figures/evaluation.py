"""Confusion matrix, calibration and mistakes of the classifier."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.image import AxesImage

from glassbox.evaluation.calibration import expected_calibration_error
from glassbox.evaluation.classification import accuracy_interval
from glassbox.figures.style import BLUE, COLUMN, COUNTS, GREY, figure, rows_of, short


def confusion(path: str | Path, matrix: np.ndarray, classes: tuple[str, ...]) -> None:
    """Counts, coloured by their share of the row (true class). Above 20 classes there are no numbers, above 30 only
    every second class is named, above 60 every fifth, tenth, ..."""
    k = len(classes)
    side = min(max(0.52 * k + 1.6, 4.2), COLUMN - 0.6)
    with figure(path, side + 0.6, side) as drawing:
        drawing.set_layout_engine("compressed")  # which knows that cells are square
        axis = drawing.subplots()
        picture = heatmap(axis, matrix, fontsize=8 if k <= 10 else 6)
        longest = max(map(len, classes))
        angle = 0 if longest <= 3 else 45 if longest <= 12 else 90
        named = range(0, k, 1 if k <= 30 else 2 if k <= 60 else 5 * -(-k // 200))
        names = [short(classes[label], 18) for label in named]
        size = 9 if k <= 10 else 7
        axis.set_xticks(named, names, rotation=angle, ha="right" if angle == 45 else "center", fontsize=size)
        axis.set_yticks(named, names, fontsize=size)
        axis.set(xlabel="predicted", ylabel="true", title=f"Confusion matrix ({matrix.sum()} test images)")
        drawing.colorbar(picture, ax=axis, label="share of the true class (%)", shrink=0.8)


def heatmap(axis: Axes, matrix: np.ndarray, fontsize: float) -> AxesImage:
    """The cells of a confusion matrix of counts or mean counts, coloured by their share of the row; rounded numbers for
    at most 20 classes. Returns the image, for a colour bar."""
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    axis.spines[:].set_visible(False)
    if len(matrix) <= 20:
        for (row, column), count in np.ndenumerate(matrix):
            if count:
                colour = "white" if share[row, column] > 0.5 else "#24292f"
                axis.text(column, row, f"{count:.0f}", ha="center", va="center", color=colour, fontsize=fontsize)
    return axis.imshow(100 * share, cmap=COUNTS, vmin=0, vmax=100)


def reliability(path: str | Path, tables: dict[str, pd.DataFrame], confidence: float) -> None:
    """Accuracy against mean confidence in each bin, with Wilson's interval of that level, and how many test images the
    bin holds: a column for each table of `calibration.reliability`, by the name of the probabilities, like "as
    trained"."""
    images, bins = next((int(table["count"].sum()), len(table)) for table in tables.values())
    with figure(path, min(4.8 * len(tables), COLUMN), 4.8) as drawing:
        drawing.suptitle(f"{images:,} test images in {bins} bins")
        axes = drawing.subplots(2, len(tables), height_ratios=(3, 1), sharex=True, sharey="row", squeeze=False)
        for column, (name, table) in enumerate(tables.items()):
            title = f"{name[0].upper()}{name[1:]}\nECE {100 * expected_calibration_error(table):.1f} %"
            top, bottom = axes[:, column]
            top.plot((0, 100), (0, 100), color=GREY, linestyle=":", label="perfectly calibrated")
            for row in table[table["count"] > 0].itertuples():
                _, low, high = accuracy_interval(round(row.accuracy * row.count), row.count, confidence)
                x, ends = 100 * row.confidence, (100 * low, 100 * high)
                top.plot((x, x), ends, color=BLUE, linewidth=1.5, alpha=0.6, label=f"{100 * confidence:g} % interval")
                top.plot(x, 100 * row.accuracy, "o", color=BLUE, markersize=5, clip_on=False, label="accuracy of a bin")
                look = {"rotation": 90, "ha": "center", "va": "bottom", "fontsize": 7, "textcoords": "offset points"}
                bottom.annotate(f"{row.count:,}", (50 * (row.low + row.high), row.count), (0, 2), **look)
            top.set(title=title, xlim=(0, 100), ylim=(0, 100))
            middle, width = 50 * (table["low"] + table["high"]), 100 * (table["high"] - table["low"])
            bottom.bar(middle, table["count"], width, color=GREY, edgecolor="white")
            bottom.set(xlabel="confidence (%)")
            bottom.margins(y=0.5)  # for the counts
        axes[0, 0].set_ylabel("accuracy (%)")
        axes[1, 0].set_ylabel("images")
        marks, words = axes[0, 0].get_legend_handles_labels()
        shown = dict(zip(words, marks, strict=True))
        drawing.legend(shown.values(), shown, loc="outside lower center", ncols=3, columnspacing=1.2, fontsize=8)


def mistakes(
    path: str | Path, images: np.ndarray, labels: np.ndarray, p: np.ndarray, classes: tuple[str, ...], n: int
) -> None:
    """The `n` most confident mistakes, five in a row; without any, only a title. Images are (N, H, W, 3) uint8, labels
    (N,), and `p` the probabilities (N, K)."""
    wrong = np.flatnonzero(p.argmax(axis=1) != labels)
    shown = wrong[np.argsort(-p[wrong].max(axis=1), kind="stable")][:n]
    columns = 5
    rows = max(rows_of(len(shown), columns), 1)
    with figure(path, COLUMN, 1.75 * rows + 0.4) as drawing:
        drawing.suptitle(
            f"The most confident of {len(wrong)} mistakes" if len(wrong) else "No mistake on the test images"
        )
        axes = drawing.subplots(rows, columns, squeeze=False)
        for axis in axes.flat:
            axis.set_axis_off()
        for axis, row in zip(axes.flat, shown, strict=False):
            guess = p[row].argmax()
            axis.imshow(images[row], interpolation="nearest")
            predicted, true = short(classes[guess], 12), short(classes[labels[row]], 14)
            axis.set_title(f"{predicted} ({100 * p[row, guess]:.0f} %)\ntrue: {true}", fontsize=7.5)
