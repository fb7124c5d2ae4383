"""Figures of the Clever Hans test."""

from pathlib import Path

import numpy as np
import pandas as pd

from glassbox.explainers.catalog import CONTROLS, TITLES, title_of
from glassbox.figures.maps import blend, frame, normalise
from glassbox.figures.style import BLUE, GREY, ORANGE, figure
from glassbox.statistics.outcomes import BETTER


def contrast(path: str | Path, table: pd.DataFrame) -> None:
    """The watermark's share of the positive attribution in both networks, and their difference with its interval, for
    each explainer of `shortcut.table`."""
    rows = table.iloc[::-1]
    heights = np.arange(len(rows))
    with figure(path, 7.2, 0.27 * len(rows) + 1.2) as drawing:
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
    with figure(path, 1.3 * (1 + len(maps)) + 0.4, 3.2) as drawing:
        axes = drawing.subplots(2, 1 + len(maps))
        for row, text in enumerate(texts):
            axes[row, 0].imshow(image, interpolation="nearest")
            axes[row, 0].set_ylabel(text, fontsize=8)
            for axis, (name, both) in zip(axes[row, 1:], maps.items(), strict=True):
                axis.imshow(blend(image, normalise(both[row])), interpolation="nearest")
                if row == 0:
                    axis.set_title(TITLES[name].replace(" (", "\n("), fontsize=7)
            for axis in axes[row]:
                axis.contour(mask, levels=[0.5], colors="black", linewidths=0.8)
                frame(axis)
