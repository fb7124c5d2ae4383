import numpy as np
import pytest
from matplotlib.collections import QuadMesh

from glassbox.figures.grid import Column, draw
from glassbox.figures.maps import blend

IMAGES = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3), dtype=np.uint8)
MAPS = np.stack([np.eye(4), -4 * np.eye(4)])


def column(shown: tuple[bool, bool] = (True, True), maps: np.ndarray = MAPS) -> Column:
    return Column("LIME", maps, "probability", ["a note", "b\nof two lines"], shown)


def picture(axis) -> np.ndarray:
    return np.asarray(axis.get_images()[0].get_array())


def test_each_map_has_its_own_scale():
    figure = draw(IMAGES, ["first", "second"], [column()], absolute=False)
    _, first, _, second, bar = figure.axes
    assert picture(first) == pytest.approx(blend(IMAGES[0], np.eye(4)))
    assert picture(second) == pytest.approx(blend(IMAGES[1], -np.eye(4)))
    assert [text.get_text() for text in bar.get_yticklabels()] == ["against", "0", "for"]


def test_the_absolute_scale_is_that_of_the_column_and_has_numbers():
    figure = draw(IMAGES, ["first", "second"], [column()], absolute=True)
    _, first, _, second, _, bar = figure.axes
    assert picture(first) == pytest.approx(blend(IMAGES[0], np.eye(4) / 4))
    assert picture(second) == pytest.approx(blend(IMAGES[1], -np.eye(4)))
    assert [text.get_text() for text in bar.get_xticklabels()] == ["−4", "0", "4"]  # noqa: RUF001
    assert bar.get_xlabel() == "attribution, probability"


def test_the_scale_shows_the_colours_of_the_maps():
    """Over the grey of the scale."""
    grey = np.full((1, 4, 4, 3), 128, np.uint8)
    values = np.full((1, 4, 4), -0.5)
    values[0, 0, 0] = 1
    figure = draw(grey, [""], [Column("", values, "logit", [""], [True])], absolute=True)
    (mesh,) = (drawn for drawn in figure.axes[-1].collections if isinstance(drawn, QuadMesh))
    colours = mesh.get_cmap()
    assert picture(figure.axes[1])[0, 0] == pytest.approx(colours(1.0)[:3], abs=0.02)
    assert picture(figure.axes[1])[3, 3] == pytest.approx(colours(0.25)[:3], abs=0.02)


def test_a_map_that_may_not_be_shown_is_white_and_sets_no_scale():
    hidden = column(shown=(True, False))
    assert hidden.largest == 1
    figure = draw(IMAGES, ["first", "second"], [hidden], absolute=True)
    assert (picture(figure.axes[3]) == 255).all()
    assert column(maps=np.zeros((2, 4, 4))).largest == 1


def test_masks_are_outlined_in_the_image_and_in_its_maps():
    masks = np.stack([np.eye(4, dtype=bool), np.zeros((4, 4), bool)])
    figure = draw(IMAGES, ["first", "second"], [column()], absolute=False, masks=masks)
    assert [len(axis.collections) for axis in figure.axes[:4]] == [1, 1, 0, 0]


def test_texts_do_not_overlap():
    """Captions of neighbouring panels, at the width of the longest caption of an explainer; and none is cut."""
    note = "all zero: nothing in its layer\nspeaks for the class (ReLU)"
    columns = [Column("Integrated Gradients", MAPS / 3456, "logit", [note, note], (True, True))] * 3
    for absolute in (False, True):
        figure = draw(IMAGES, ["GOLDEN RETRIEVE…, 100.0 %"] * 2, columns, absolute=absolute, title="a title")
        figure.draw_without_rendering()
        axes = [axis for axis in figure.axes if axis.get_images()]
        boxes = [axis.xaxis.label.get_window_extent() for axis in axes] + [axis.bbox for axis in axes]
        ticks = [tick for axis in figure.axes if axis.axison for tick in axis.get_xticklabels() if tick.get_text()]
        boxes += [tick.get_window_extent() for tick in ticks]
        assert not any(a.overlaps(b) for place, a in enumerate(boxes) for b in boxes[:place])
        assert all(box.x0 >= 0 and box.x1 <= figure.bbox.x1 for box in boxes)


def test_a_notebook_without_pyplot_shows_it():
    assert draw(IMAGES, ["", ""], [column()], absolute=False)._repr_png_().startswith(b"\x89PNG")
