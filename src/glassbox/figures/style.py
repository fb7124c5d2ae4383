"""One look for all figures: readable at column width, colour-blind safe, the same bytes on every run."""

import io
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import fill

import matplotlib as mpl
from matplotlib import font_manager
from matplotlib.figure import Figure

from glassbox.core import files

# Okabe & Ito's palette, told apart by people with any colour vision.
BLUE, ORANGE, RED, GREY = "#0072B2", "#E69F00", "#D55E00", "#6e7781"
DIVERGING = "RdBu_r"  # red speaks for the class, blue against it
COUNTS = "Blues"

FONT = "DejaVu Sans"  # which comes with matplotlib
_STYLE = {
    "font.family": FONT,
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "grid.color": "#d0d7de",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}
DPI = 150


def literal(text: str) -> str:
    """Text that matplotlib draws as it is: a class may be called $1, which is no mathematics."""
    return text.replace("$", r"\$")


def short(name: str, most: int = 24) -> str:
    """A class name, drawn as it is, that leaves room for the rest of the figure."""
    return literal(name if len(name) <= most else f"{name[: most - 1]}…")


def undrawable(names: Iterable[str]) -> list[str]:
    """Those of the names that have letters which the figures' font has not: these are drawn as boxes."""
    font = font_manager.get_font(font_manager.findfont(FONT))
    return [name for name in names if not all(font.get_char_index(ord(letter)) for letter in name)]


def heading(drawing: Figure, text: str) -> None:
    """The figure's title, drawn as it is, in as many lines as its width asks for."""
    across = int(11 * drawing.get_figwidth())  # letters of this size in a line: up to 13 an inch
    drawing.suptitle(literal(fill(text, across)), fontsize=11)


@contextmanager
def figure(path: str | Path, width: float, height: float) -> Iterator[Figure]:
    """A figure of `width` x `height` inches that is written to `path` when the block ends.

    Without pyplot: no window, no global list of figures that grows.
    """
    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        # Said once, in `samples`, and not for each letter of each figure.
        warnings.filterwarnings("ignore", message=r"Glyph \d+ .* missing from font")
        drawing = Figure(figsize=(width, height), layout="constrained")
        yield drawing
        for axes in drawing.axes:
            for axis in (axes.xaxis, axes.yaxis):
                # The layout would ask it many times how much room it needs.
                if not axis.label.get_text() and not len(axis.get_ticklocs()) + len(axis.get_ticklocs(minor=True)):
                    axis.set_visible(False)
        stream = io.BytesIO()
        # The version of matplotlib in the file would change its bytes.
        drawing.savefig(stream, format=Path(path).suffix[1:], dpi=DPI, metadata={"Software": None})
        files.write_bytes(path, stream.getvalue())
