"""Where the attribution of a class lies, by hand, and which images stand for it."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from glassbox.report import classes

from .conftest import IMAGES, NAMES


def test_fields_are_thirds_of_either_side():
    masks = classes.fields(6)
    assert len(masks) == 9
    assert sum(mask.astype(int) for mask in masks.values()).tolist() == [[1] * 6] * 6
    assert np.argwhere(masks["upper right"]).tolist() == [[0, 4], [0, 5], [1, 4], [1, 5]]
    assert np.argwhere(masks["middle"]).tolist() == [[2, 2], [2, 3], [3, 2], [3, 3]]


@pytest.mark.parametrize(
    ("colour", "name"),
    [
        ((200, 20, 20), "red"),
        ((200, 20, 60), "red"),
        ((200, 200, 20), "yellow"),
        ((20, 200, 20), "green"),
        ((20, 200, 200), "cyan"),
        ((20, 20, 200), "blue"),
        ((200, 20, 200), "magenta"),
        ((50, 0, 0), "dark"),
        ((120, 120, 120), "grey"),
        ((250, 250, 240), "bright"),
    ],
)
def test_every_pixel_has_one_colour(colour, name):
    masks = classes.colours(np.full((2, 2, 3), colour, dtype=np.uint8))
    assert [key for key, mask in masks.items() if mask.all()] == [name]
    assert sum(mask.sum() for mask in masks.values()) == 4


def test_an_excess_is_the_share_of_the_attribution_less_that_of_the_pixels():
    image = np.zeros((3, 3, 3), dtype=np.uint8)
    image[0] = (200, 20, 20)  # the upper row is red, the rest dark
    values = np.array([[3.0, 0, 0], [0, 1.0, 0], [0, 0, -5.0]])
    found = classes.excesses(image, values)
    assert found["upper left"] == pytest.approx(0.75 - 1 / 9)
    assert found["middle"] == pytest.approx(0.25 - 1 / 9)
    assert found["lower right"] == pytest.approx(-1 / 9)  # what is negative does not count
    assert (found["red"], found["dark"]) == (pytest.approx(0.75 - 1 / 3), pytest.approx(0.25 - 2 / 3))
    assert np.isnan(found["green"])  # there is none
    assert all(np.isnan(value) for value in classes.excesses(image, -values.clip(0)).values())


def test_what_all_images_of_a_class_share_is_found_and_the_rest_is_undecided(study):
    n, rng = 40, np.random.default_rng(0)
    images = rng.integers(0, 256, (n, 6, 6, 3), dtype=np.uint8)
    maps = rng.random((n, 6, 6)).astype(np.float16)
    maps[: n // 2, :2, :2] += 4  # dogs, in the upper left
    named = ["dog"] * (n // 2) + ["hen"] * (n // 2)
    index = {"map": range(n), "image": range(n), "explainer": "lime", "explained_class": named}
    scored = replace(study, scored_index=pd.DataFrame(index))
    scored.__dict__["scored_maps"] = maps
    tests = classes.used(classes.shares(scored, images, "lime"))
    assert len(tests) == 2 * 18  # nine fields and nine colours of two classes
    dog = tests[tests["a"] == "dog"].set_index("b")
    assert dog.loc["upper left", "outcome"] == "better"
    assert 0.3 < dog.loc["upper left", "low"] < dog.loc["upper left", "difference"] < dog.loc["upper left", "high"]
    assert (dog.loc[["bottom", "right", "middle"], "outcome"] == "worse").all()
    assert (tests[tests["a"] == "hen"]["outcome"] == "undecided").all()


def test_what_was_seen_in_few_images_is_named_with_its_range():
    names = [name for row in classes.FIELDS for name in row] + list(classes.COLOURS)
    known = pd.DataFrame(0.0, index=range(2), columns=names)
    known["top"], known["green"], known["red"] = [0.1, 0.3], [np.nan, 0.4], np.nan
    assert classes.most(known) == "top +0.20 (+0.10 to +0.30); green +0.40 (+0.40 to +0.40)"
    assert classes.most(known * -1) == ""  # nothing gets more than its share


def test_images_of_every_kind_are_chosen_by_their_confidence(study):
    n = 12
    table = {"image": range(n), "true_class": "dog", "predicted_class": ["dog"] * 10 + [NAMES[0]] * 2}
    table["confidence"] = [0.5, 0.55, 0.6, 0.7, 0.8, 0.81, 0.82, 0.9, 0.95, 0.99, 0.6, 0.7]
    scored = pd.DataFrame({"map": range(n), "image": range(n), "explainer": "lime", "explained_class": "dog"})
    chosen = classes.chosen(replace(study, predictions=pd.DataFrame(table), scored_index=scored), "lime", "dog")
    # The median of the recognised ones is 0.805.
    assert chosen == {"typical": [4, 5, 6, 7], "hardest": [0, 1, 2, 3], "wrong": [11, 10]}
    assert classes.chosen(study, "rise", "dog") == {"typical": [], "hardest": [], "wrong": []}  # it made no map


def test_the_page_shows_the_explainer_that_is_trusted(study):
    assert study.first_explainer == "lime"
    text = " ".join(classes.page(study, IMAGES).split())
    assert "beside their maps by LIME, for the predicted class" in text
    assert "<h2>cat &lt;b&gt;</h2>" in text
    assert "Not tested: 0 scored images, at least" in text  # of cats none was predicted
    assert '→ dog · 99 % · <a href="../index.html#case-9">9</a>' in text
    assert text.count('alt="Its map for dog"') == 2
    without = replace(study, ranking=None, scored_index=None)
    assert without.first_explainer == "kernel_shap"
    assert "Not tested: explainers were not scored." in classes.page(without, IMAGES)
