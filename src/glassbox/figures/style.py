"""The common style of all figures: readable at column width, colour-blind safe, the same bytes on every run."""

import io
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import fill

import matplotlib as mpl
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from glassbox.core import files

# Okabe & Ito's palette, safe for any colour vision.
BLUE, ORANGE, RED, GREY = "#0072B2", "#E69F00", "#D55E00", "#6e7781"
GREEN = "#009E73"  # of the outlines of masks, which are seen on photos and on maps of red and blue
YELLOW = "#F0E442"  # outlines regions that were hidden
COUNTS = "Blues"

FONT = "DejaVu Sans"  # which comes with matplotlib
STYLE = {
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
COLUMN = 7.2  # inches, the widest figure: the text of a paper, or of the report, at full size


def literal(text: str) -> str:
    """Text without mathematics for matplotlib: a class may be called $1."""
    return text.replace("$", r"\$")


def short(name: str, most: int = 24) -> str:
    """A class name as `literal` text of `most` letters at most."""
    return literal(name if len(name) <= most else f"{name[: most - 1]}…")


def undrawable(names: Iterable[str]) -> list[str]:
    """The names with letters that the figures' font lacks: these are drawn as boxes."""
    font = font_manager.get_font(font_manager.findfont(FONT))
    return [name for name in names if not all(font.get_char_index(ord(letter)) for letter in name)]


def heading(drawing: Figure, text: str) -> None:
    """The figure's title as `literal` text, wrapped to its width."""
    drawing.suptitle(literal(wrapped(text, 0.92 * drawing.get_figwidth(), size=11)), fontsize=11)


def wrapped(text: str, width: float, size: float) -> str:
    """Text in lines that are at most `width` inches long in letters of `size` points; its own lines stay apart."""
    letters = max(8, int(72 * width / (0.55 * size)))
    return "\n".join(fill(line, letters) for line in text.split("\n"))


def panels(drawing: Figure, n: int, columns: int, sharey: bool = False) -> list[Axes]:
    """Axes of `n` panels in rows of `columns`; the rest of the last row stays empty."""
    axes = drawing.subplots(rows_of(n, columns), columns, sharey=sharey, squeeze=False)
    for axis in axes.flat[n:]:
        axis.set_axis_off()
    return list(axes.flat[:n])


def rows_of(n: int, columns: int) -> int:
    """Rows of `columns` that hold `n` panels."""
    return -(-n // columns)


@contextmanager
def figure(path: str | Path, width: float, height: float) -> Iterator[Figure]:
    """A figure of `width` x `height` inches, written to `path` when the block ends. It is made without pyplot, which
    keeps a global list of figures."""
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        # `data.samples` warns once, not for each letter of each figure.
        warnings.filterwarnings("ignore", message=r"Glyph \d+ .* missing from font")
        drawing = Figure(figsize=(width, height), layout="constrained")
        yield drawing
        for axes in drawing.axes:
            for axis in (axes.xaxis, axes.yaxis):
                # The layout would measure it many times.
                if not axis.label.get_text() and not len(axis.get_ticklocs()) + len(axis.get_ticklocs(minor=True)):
                    axis.set_visible(False)
        stream = io.BytesIO()
        # Without matplotlib's version in the file, which would change its bytes.
        drawing.savefig(stream, format=Path(path).suffix[1:], dpi=DPI, metadata={"Software": None})
        files.write_bytes(path, stream.getvalue())
