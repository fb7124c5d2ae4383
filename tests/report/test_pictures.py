"""Outlines of masks over pictures."""

import io

import numpy as np
from PIL import Image

from glassbox.figures.style import GREEN
from glassbox.report.cases import cases
from glassbox.report.page import page
from glassbox.report.pictures import browsable, edges, enlarged, svg_path

from .conftest import IMAGES

CORNER = np.array([[0, 0, 0], [0, 1, 1], [0, 0, 1]], dtype=bool)
AROUND = [(1, 1, 0, 1), (2, 2, 0, 1), (1, 1, 2, 0), (1, 2, 1, 0)]  # the border of the image is no edge


def test_an_outline_lies_between_marked_and_other_pixels():
    assert list(edges(CORNER)) == AROUND
    assert svg_path(CORNER) == "M1 1v1M2 2v1M1 1h2M1 2h1"
    assert svg_path(np.zeros((3, 3), dtype=bool)) == svg_path(np.ones((3, 3), dtype=bool)) == ""


def test_masks_are_outlined_on_the_page_and_in_mlflow(study):
    assert cases(study)[0]["outline"] == ""
    assert "outlined in green" not in page(study, IMAGES, "0")
    plain = {key: np.asarray(Image.open(io.BytesIO(content))) for key, _, content in browsable(study)}

    mask = np.zeros((1, 8, 8), dtype=bool)
    mask[0, 2:5, 3:6] = True
    study.arrays["masks"] = mask
    (case,) = cases(study)
    assert case["outline"] == "M3 2v3M6 2v3M3 2h3M3 5h3"
    text = page(study, IMAGES, "0")
    assert text.count(f'<svg viewBox="0 0 8 8" aria-hidden="true"><path d="{case["outline"]}"/></svg>') == 2
    assert "is outlined in green" in text

    times = enlarged(IMAGES[5]).width // 8
    green = [int(GREEN[place : place + 2], 16) for place in (1, 3, 5)]
    for key, _, content in browsable(study)[:-1]:  # the last is the scorecard
        pixels = np.asarray(Image.open(io.BytesIO(content)))
        assert (pixels[2 * times, 3 * times : 6 * times] == green).all()
        inside = slice(2 * times + 3, 5 * times - 3), slice(3 * times + 3, 6 * times - 3)
        assert (pixels[inside] == plain[key][inside]).all()
