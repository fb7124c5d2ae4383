import sys
import warnings

import pytest
from PIL import Image

from glassbox.figures.style import DPI, figure, undrawable


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
