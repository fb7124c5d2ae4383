"""Maps of several images by several explainers, as a figure that a notebook shows."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.colorbar import Colorbar
from matplotlib.figure import Figure

from glassbox.core.text import MINUS
from glassbox.figures.maps import frame, normalise, outline, scale_of, show_map
from glassbox.figures.style import DPI, GREEN, STYLE, heading

PANEL = 1.55  # inches, the side of an image
OWN = "attribution, share of the map's largest value"


class NotebookFigure(Figure):
    """A figure that a notebook shows where pyplot is not imported, too."""

    def _repr_png_(self) -> bytes:
        stream = io.BytesIO()
        with mpl.rc_context(STYLE):
            self.savefig(stream, format="png", dpi=DPI, metadata={"Software": None})
        return stream.getvalue()


@dataclass(frozen=True)
class Column:
    """An explainer's maps.

    Attributes:
        title: of the column.
        maps: (N, H, W) signed.
        unit: of the maps.
        notes: a caption below each map.
        shown: whether each map may be shown; the others stay white.
    """

    title: str
    maps: np.ndarray
    unit: str
    notes: Sequence[str]
    shown: Sequence[bool]

    @property
    def largest(self) -> float:
        """The largest absolute value of the maps that are shown; 1 where there is none but 0."""
        return float(np.abs(self.maps[np.asarray(self.shown)]).max(initial=0)) or 1.0


def draw(
    images: np.ndarray,
    captions: Sequence[str],
    columns: Sequence[Column],
    *,
    absolute: bool,
    title: str = "",
    masks: np.ndarray | None = None,
) -> NotebookFigure:
    """A row for each image and a column for each explainer.

    Args:
        images: (N, H, W, 3) uint8.
        captions: (N,) below the images, their predictions.
        columns: the maps.
        absolute: whether all maps of a column have one scale, with its numbers; otherwise each map has its own.
        title: of the figure; "" for none.
        masks: (N, H, W) bool, outlined in the images and in the maps.
    """
    rows, across = len(images), 1 + len(columns)
    lines = 1 + max(text.count("\n") for texts in (captions, *(column.notes for column in columns)) for text in texts)
    height = rows * (PANEL + 0.12 * lines) + 0.4 + 0.5 * absolute + 0.3 * bool(title)
    with mpl.rc_context(STYLE):
        drawing = NotebookFigure(figsize=(PANEL * across + 0.8 * (not absolute), height), layout="constrained")
        drawing.get_layout_engine().set(w_pad=0.06, wspace=0)
        if title:
            heading(drawing, title)
        # The last row is for the scales of the columns.
        ratios = [1.0] * rows + [0.06] * absolute
        axes = drawing.subplots(len(ratios), across, squeeze=False, height_ratios=ratios)
        panels = axes[:rows]
        for (first, *others), image, caption, row in zip(panels, images, captions, range(rows), strict=True):
            frame(first)
            first.imshow(image, interpolation="nearest")
            first.set_xlabel(caption, fontsize=7)
            for axis, column in zip(others, columns, strict=True):
                values = column.maps[row] / column.largest if absolute else normalise(column.maps[row])
                show_map(axis, image, values if column.shown[row] else None)
                axis.set_xlabel(column.notes[row], fontsize=7)
            for axis in (first, *others) if masks is not None else ():
                outline(axis, masks[row], GREEN)
        for axis, text in zip(panels[0], ["image, prediction", *(column.title for column in columns)], strict=True):
            axis.set_title(text.replace(" (", "\n("), fontsize=9)
        if absolute:
            axes[rows, 0].set_axis_off()
            for axis, column in zip(axes[rows, 1:], columns, strict=True):
                limit = column.largest
                bar = drawing.colorbar(scale_of(limit), cax=axis, orientation="horizontal", ticks=(-limit, 0, limit))
                _tell(bar, [f"{MINUS}{limit:.2g}", "0", f"{limit:.2g}"], f"attribution, {column.unit}")
                first, _, last = axis.get_xticklabels()
                first.set_horizontalalignment("left")  # long numbers stay within their column
                last.set_horizontalalignment("right")
        else:
            shrink = min(1.0, 3 / height)
            bar = drawing.colorbar(scale_of(1), ax=[*axes.flat], ticks=(-1, 0, 1), shrink=shrink, aspect=30, pad=0.01)
            _tell(bar, ["against", "0", "for"], OWN)
    return drawing


def _tell(bar: Colorbar, ticks: list[str], label: str) -> None:
    bar.set_ticklabels(ticks)
    bar.set_label(label, fontsize=7)
    bar.ax.tick_params(labelsize=7)
