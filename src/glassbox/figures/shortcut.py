"""Figures of the Clever Hans test."""

from pathlib import Path

import numpy as np
import pandas as pd

from glassbox.explainers.catalog import CONTROLS, TITLES, title_of
from glassbox.figures.maps import blend, frame, normalise
from glassbox.figures.style import BLUE, COLUMN, GREEN, GREY, ORANGE, figure, rows_of, wrapped
from glassbox.statistics.outcomes import BETTER

ACROSS = 5  # explainers in a row


def contrast(path: str | Path, table: pd.DataFrame) -> None:
    """The watermark's share of the positive attribution in both networks, and their difference with its interval, for
    each explainer of `shortcut.table`."""
    rows = table.iloc[::-1]
    heights = np.arange(len(rows))
    with figure(path, COLUMN, 0.27 * len(rows) + 1.2) as drawing:
        left, right = drawing.subplots(1, 2, sharey=True)
        left.hlines(heights, rows["control"], rows["confounded"], color="#d0d7de", linewidth=2)
        left.plot(rows["control"], heights, "s", color=ORANGE, markerfacecolor="white", label="watermark was noise")
        left.plot(rows["confounded"], heights, "o", color=BLUE, label="watermark predicted the class")
        left.set_xlabel("share of the positive attribution\nthat lies in the watermark")
        left.legend(fontsize=7, loc="lower right")
        for height, row in zip(heights, rows.itertuples(), strict=True):
            colour = GREY if row.explainer in CONTROLS else BLUE
            right.plot((row.low, row.high), (height, height), color=colour, linewidth=2)
            face = colour if row.outcome == BETTER else "white"
            right.plot(row.contrast, height, "o", color=colour, markerfacecolor=face)
        right.axvline(0, color=GREY, linewidth=0.8)
        right.set_xlabel("typical difference between the networks\n(filled: exposes the shortcut)")
        left.set_yticks(heights, [title_of(name) for name in rows["explainer"]])
        for axis in (left, right):
            axis.grid(axis="x")


def pictures(path: str | Path, image: np.ndarray, mask: np.ndarray, maps: dict[str, tuple[np.ndarray, ...]]) -> None:
    """An image (H, W, 3) uint8 with the watermark in the pixels of the mask (H, W) bool, and every explainer's maps
    (H, W): of the network that learnt the watermark, and of the one that did not."""
    texts = ("watermark\npredicted\nthe class", "watermark\nwas noise")
    lines = rows_of(len(maps), ACROSS)
    with figure(path, COLUMN, 3.1 * lines) as drawing:
        axes = drawing.subplots(2 * lines, 1 + ACROSS)
        for axis in axes.flat:
            axis.set_axis_off()
        for place, (name, both) in enumerate(maps.items()):
            for network, text in enumerate(texts):
                row = axes[2 * (place // ACROSS) + network]
                pictures = {row[0]: image, row[1 + place % ACROSS]: blend(image, normalise(both[network]))}
                for axis, picture in pictures.items():
                    frame(axis)
                    axis.imshow(picture, interpolation="nearest")
                    axis.contour(mask, levels=[0.5], colors=GREEN, linewidths=0.8)
                row[0].set_ylabel(text, fontsize=8)
                if network == 0:
                    row[1 + place % ACROSS].set_title(wrapped(TITLES[name], 1.1, size=7), fontsize=7)
