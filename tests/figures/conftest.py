"""What a test draws: the figures, their texts, and the maps in them."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from glassbox.figures import maps, style
from glassbox.figures.grid import NotebookFigure

LEAST = 6  # points, of any letter


@pytest.fixture
def drawn(monkeypatch) -> list[Figure]:
    """The figures that a test draws."""
    figures, savefig = [], Figure.savefig

    def saved(self, *arguments, **options):
        savefig(self, *arguments, **options)
        figures.append(self)

    monkeypatch.setattr(style.Figure, "savefig", saved)
    return figures


@pytest.fixture(autouse=True)
def _readable(monkeypatch) -> None:
    """Every figure that a test draws fits into a column of text, its letters can be read there, and nothing of it is
    outside of its canvas. A notebook's figures are as wide as they are."""
    savefig = Figure.savefig

    def saved(self, *arguments, **options):
        savefig(self, *arguments, **options)
        width, height = self.get_size_inches()
        assert isinstance(self, NotebookFigure) or width <= style.COLUMN
        visible = [text for text in self.findobj(match=Text) if text.get_visible() and text.get_text()]
        small = {text.get_text() for text in visible if text.get_fontsize() < LEAST}
        assert not small, f"too small to read: {small}"
        self.set_dpi(style.DPI)  # as it was saved
        canvas = FigureCanvasAgg(self)
        canvas.draw()
        box = self.get_tightbbox(canvas.get_renderer())
        slack = 0.02  # inches
        assert min(box.x0, box.y0) > -slack, (box, width, height)
        assert box.x1 < width + slack, (box, width, height)
        assert box.y1 < height + slack, (box, width, height)

    monkeypatch.setattr(style.Figure, "savefig", saved)


@pytest.fixture
def blended(monkeypatch) -> list[np.ndarray]:
    """The maps that a test draws, without those of scales, which have one row."""
    values, blend = [], maps.blend

    def recorded(image: np.ndarray, scaled: np.ndarray) -> np.ndarray:
        if len(scaled) > 1:
            values.append(scaled)
        return blend(image, scaled)

    monkeypatch.setattr(maps, "blend", recorded)
    return values


def texts(*figures: Figure) -> list[str]:
    return [text.get_text() for figure in figures for text in figure.findobj(match=Text)]


def has_ink(path) -> bool:
    return Image.open(path).convert("L").getextrema()[0] < 128
