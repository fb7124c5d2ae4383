import sys
import warnings
from contextlib import nullcontext

import pytest
from PIL import Image

from glassbox.figures.style import COLUMN, DPI, figure, undrawable, wrapped


def test_a_figure_has_its_size_and_the_same_bytes_every_time(tmp_path):
    for name in ("a.png", "b.png"):
        with figure(tmp_path / name, 3, 2) as drawing:
            drawing.subplots().plot([1, 2])
    assert Image.open(tmp_path / "a.png").size == (3 * DPI, 2 * DPI)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    pyplot = sys.modules.get("matplotlib.pyplot")  # which would keep the figures
    assert pyplot is None or pyplot.get_fignums() == []


def test_a_figure_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError), figure(tmp_path / "a.png", 3, 2):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_names_that_the_font_lacks_are_known_and_cause_no_warning_for_each_letter(tmp_path):
    assert undrawable(["cat", "кот", "قطة", "猫", "é 🐈"]) == ["猫", "é 🐈"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with figure(tmp_path / "a.png", 1, 1) as drawing:
            drawing.suptitle("猫")


@pytest.mark.parametrize(
    ("width", "place", "size", "why"),
    [
        (COLUMN + 0.1, 0.1, 9, "COLUMN"),
        (3, 0.1, 5.9, "too small to read"),
        (3, 0.9, 9, "box"),
        (3, -0.1, 9, "box"),
        (3, 0.1, 9, None),
    ],
)
def test_a_figure_that_cannot_be_read_in_a_column_fails_its_test(tmp_path, width, place, size, why):
    """The check of conftest.py, which every figure of these tests goes through."""
    expected = pytest.raises(AssertionError, match=why) if why else nullcontext()
    with expected, figure(tmp_path / "a.png", width, 2) as drawing:
        drawing.text(place, 0.5, "a long text", fontsize=size)


def test_text_in_lines_of_a_width():
    """In letters of 10 points an inch holds 13."""
    assert wrapped("one two three four", 1, 10) == "one two three\nfour"
    assert wrapped("one\ntwo", 1, 10) == "one\ntwo"
