"""What a test draws: the figures, their texts, and the maps in them."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from glassbox.figures import maps, style


@pytest.fixture
def drawn(monkeypatch) -> list[Figure]:
    """The figures that a test draws."""
    figures, savefig = [], Figure.savefig

    def saved(self, *arguments, **options):
        savefig(self, *arguments, **options)
        figures.append(self)

    monkeypatch.setattr(style.Figure, "savefig", saved)
    return figures


@pytest.fixture
def blended(monkeypatch) -> list[np.ndarray]:
    """The maps that a test draws."""
    values, blend = [], maps.blend
    monkeypatch.setattr(maps, "blend", lambda image, scaled: values.append(scaled) or blend(image, scaled))
    return values


def texts(*figures: Figure) -> list[str]:
    return [text.get_text() for figure in figures for text in figure.findobj(match=Text)]


def has_ink(path) -> bool:
    return Image.open(path).convert("L").getextrema()[0] < 128
