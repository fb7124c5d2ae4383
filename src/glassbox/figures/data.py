"""Samples of the data."""

import sys
from pathlib import Path

import numpy as np

from glassbox.figures.maps import outline
from glassbox.figures.style import FONT, GREEN, figure, short, undrawable


def samples(
    path: str | Path,
    pixels: np.ndarray,
    labels: np.ndarray,
    classes: tuple[str, ...],
    each: int = 10,
    masks: np.ndarray | None = None,
) -> None:
    """The first `each` images of every class, one row per class (at most 20), with the outlines of their masks (N, H,
    W), if there are any. The pixels are (N, H, W, 3) uint8, the labels (N,). As the first figure of a study, it warns
    on stderr of class names that the figures' font cannot show.
    """
    shown = classes[:20]
    boxes = undrawable(classes)
    if boxes:
        listed = f"{', '.join(boxes[:3])}{' …' if len(boxes) > 3 else ''}"
        print(
            f"warning: {FONT}, the font of the figures, lacks letters of class names ({listed}): figures show boxes "
            "instead, tables and the report the names",
            file=sys.stderr,
        )
    with figure(path, 0.58 * each + 1.4, 0.62 * len(shown) + 0.4) as drawing:
        axes = drawing.subplots(len(shown), each, squeeze=False)
        for label, name in enumerate(shown):
            rows = np.flatnonzero(labels == label)[:each]
            for column, axis in enumerate(axes[label]):
                axis.set_axis_off()
                if column < len(rows):
                    axis.imshow(pixels[rows[column]], interpolation="nearest")
                    if masks is not None:
                        outline(axis, masks[rows[column]], GREEN)
            axes[label, 0].text(-0.15, 0.5, short(name), transform=axes[label, 0].transAxes, ha="right", va="center")
        if len(classes) > len(shown):
            drawing.suptitle(f"the first {len(shown)} of {len(classes)} classes")
