"""Curves of the training."""

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from glassbox.figures.style import BLUE, COLUMN, GREY, ORANGE, figure


def curves(path: str | Path, table: pd.DataFrame, best: int) -> None:
    """Loss, accuracy and learning rate by epoch; a vertical line marks epoch `best`, whose weights were kept.

    Training values come from the epoch's batches, with augmentation and dropout, and so may be worse than validation.
    """
    with figure(path, COLUMN, 2.7) as drawing:
        loss, accuracy, rate = drawing.subplots(1, 3)
        for part, colour, label in (("train", ORANGE, "train (with dropout)"), ("validation", BLUE, "validation")):
            loss.plot(table["epoch"], table[f"{part}_loss"], color=colour, marker=".", label=label)
            accuracy.plot(table["epoch"], 100 * table[f"{part}_accuracy"], color=colour, marker=".", label=part)
        penalized = table["validation_loss"] + table["weight_penalty"]
        loss.plot(table["epoch"], penalized, color=BLUE, linestyle="--", linewidth=1, label="with weight penalty")
        rate.step(table["epoch"], table["learning_rate"], where="mid", color=GREY)
        rate.set_yscale("log")
        _readable_ticks(rate, table["learning_rate"])
        loss.set(title="Loss", ylabel="cross-entropy (nats)")
        accuracy.set(title="Accuracy", ylabel="accuracy (%)")
        rate.set(title="Learning rate", ylabel="step size")
        for axis in (loss, accuracy, rate):
            axis.axvline(best, color=GREY, linestyle=":", linewidth=1)
            axis.set_xlabel("epoch")
            axis.xaxis.get_major_locator().set_params(integer=True)
            axis.grid(axis="y")
        loss.legend(fontsize=8)


def _readable_ticks(axis: Axes, rates: pd.Series) -> None:
    """Plain numbers at powers of ten, and of a short range also at 2 and 5 times these. At least a decade is shown."""
    low, high = rates.min(), rates.max()
    if high < 10 * low:
        middle = (low * high) ** 0.5
        low, high = middle / 10**0.5, middle * 10**0.5
    axis.set_ylim(low / 1.3, high * 1.3)
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.yaxis.set_minor_formatter(NullFormatter())
