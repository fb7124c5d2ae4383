"""What a test drew: the figures, their words, and whether a file has ink."""

from collections.abc import Callable

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from glassbox.figures import style


@pytest.fixture
def drawn(monkeypatch) -> list[Figure]:
    """The figures that a test draws."""
    return _listen(monkeypatch, lambda figure: [figure])


@pytest.fixture
def texts(monkeypatch) -> list[str]:
    """All the words of the figures that a test draws."""
    return _listen(monkeypatch, lambda figure: [text.get_text() for text in figure.findobj(match=Text)])


def _listen(monkeypatch, of: Callable[[Figure], list]) -> list:
    heard, savefig = [], Figure.savefig

    def listening(self, *arguments, **options):
        savefig(self, *arguments, **options)
        heard.extend(of(self))

    monkeypatch.setattr(style.Figure, "savefig", listening)
    return heard


def words(figure: Figure) -> set[str]:
    return {text.get_text() for text in figure.findobj(match=Text)}


def has_ink(path) -> bool:
    return Image.open(path).convert("L").getextrema()[0] < 128
