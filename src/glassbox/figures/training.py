"""Curves of the training."""

from pathlib import Path

import pandas as pd

from glassbox.figures.style import BLUE, GREY, ORANGE, figure


def curves(path: str | Path, table: pd.DataFrame, best: int) -> None:
    """Loss, accuracy and learning rate by epoch; a vertical line marks epoch `best`, whose weights were kept.

    Training values come from the epoch's batches, with augmentation and dropout, and so may be worse than validation.
    """
    with figure(path, 9.5, 3.0) as drawing:
        loss, accuracy, rate = drawing.subplots(1, 3)
        for part, colour, label in (("train", ORANGE, "train (with dropout)"), ("validation", BLUE, "validation")):
            loss.plot(table["epoch"], table[f"{part}_loss"], color=colour, marker=".", label=label)
            accuracy.plot(table["epoch"], 100 * table[f"{part}_accuracy"], color=colour, marker=".", label=part)
        penalized = table["validation_loss"] + table["weight_penalty"]
        loss.plot(table["epoch"], penalized, color=BLUE, linestyle="--", linewidth=1, label="with weight penalty")
        rate.step(table["epoch"], table["learning_rate"], where="mid", color=GREY)
        rate.set_yscale("log")
        loss.set(title="Loss", ylabel="cross-entropy (nats)")
        accuracy.set(title="Accuracy", ylabel="accuracy (%)")
        rate.set(title="Learning rate", ylabel="step size")
        for axis in (loss, accuracy, rate):
            axis.axvline(best, color=GREY, linestyle=":", linewidth=1)
            axis.set_xlabel("epoch")
            axis.xaxis.get_major_locator().set_params(integer=True)
            axis.grid(axis="y")
        loss.legend()
