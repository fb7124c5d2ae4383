import math

import numpy as np
import pytest

from glassbox.explainers.captions import adding_up, constant_maps, equation, note, on_squares, sound

SHAP = {"additivity_error": 1e-6, "base_value": 0.25, "empty_probability": 0.5}


@pytest.mark.parametrize(
    ("explainer", "details", "zero", "empty_class", "caption"),
    [
        ("lime", {"local_r2": 0.904}, False, "", "local R² 0.90"),
        ("lime", {"local_r2": 1.0}, True, "", "all zero: nothing speaks for it"),
        ("lime", {"local_r2": math.nan}, True, "", "no R²: the class's probability\ndoes not vary near the image"),
        ("kernel_shap", SHAP, False, "", "base 0.25, sums to f(x)"),
        ("kernel_shap", SHAP, False, "three", "base 0.25, sums to f(x)\nall hidden: three (0.50)"),
        ("kernel_shap", SHAP | {"additivity_error": 0.5}, False, "", "not shown: sums to f(x) ± 0.5"),
        ("integrated_gradients", {"completeness_error": 0.00294}, False, "", "completeness error 0.0029"),
        ("occlusion", {}, False, "", ""),
        ("rise", {}, True, "", "all zero: nothing speaks for it"),
        ("grad_cam", {}, True, "", "all zero: nothing in its layer\nspeaks for the class (ReLU)"),
    ],
)
def test_each_explainer_has_its_own_caption(explainer, details, zero, empty_class, caption):
    assert note(details, zero, explainer, empty_class) == caption


def test_shapley_values_that_do_not_add_up_are_not_sound():
    assert sound({"additivity_error": 0.001})
    assert not sound({"additivity_error": 0.0011})


def test_maps_of_one_value_are_counted_in_words():
    counts = {"lime": {"constant": 0, "images": 12}, "grad_cam": {"constant": 7, "images": 12}}
    (sentence,) = constant_maps(counts | {"edges": {"constant": 1, "images": 12}}, relu=True)  # controls do not count
    assert sentence.startswith(
        "The map of Grad-CAM has one value everywhere for 7 of 12 images: nothing in its layer speaks for the class "
        "there, and ReLU leaves only zeros. Such a map ranks no pixel"
    )
    (sentence,) = constant_maps(counts, relu=False)
    assert sentence.startswith(
        "The map of Grad-CAM has one value everywhere for 7 of 12 images. Such a map ranks no pixel"
    )
    assert constant_maps({"lime": {"constant": 0, "images": 12}}, relu=True) == []


def test_rounded_numbers_add_up_by_hand():
    # 0.496 + 0.069 - 0.564 = 0.001: the nearest are 0.50 + 0.07 - 0.56 = 0.00, a hundredth short. Either 0.07 becomes
    # 0.06, 0.009 from the exact number, or 0.56 becomes 0.57, 0.006 from it: that is nearer.
    assert adding_up(0.496, 0.069, -0.564) == (0.5, 0.07, 0.57, 0.0)
    assert equation(0.496, 0.069, -0.564) == "0.50 + 0.07 \N{MINUS SIGN} 0.57 = 0.00"
    assert adding_up(0.2, 0.8, -0.1) == (0.2, 0.8, 0.1, 0.9)
    # 0.004 + 0.004 - 0 = 0.008: 0.00 + 0.00 - 0.00 = 0.01, and nothing can be taken from what is 0.
    assert adding_up(0.004, 0.004, -0.0) == (0.0, 0.01, 0.0, 0.01)
    # 0.006 + 0 - 0.002 = 0.004: 0.01 + 0.00 - 0.00 = 0.00.
    assert adding_up(0.006, 0.0, -0.002) == (0.01, 0.0, 0.01, 0.0)


@pytest.mark.parametrize("scale", [0.01, 0.1, 1.0])
def test_rounded_numbers_add_up_whatever_they_are(scale):
    rng = np.random.default_rng(0)
    for base, gain, loss in scale * rng.random((2000, 3)) * (rng.random((2000, 3)) < 0.8):
        start, plus, minus, end = adding_up(base, gain, -loss)
        assert round(100 * start) + round(100 * plus) - round(100 * minus) == round(100 * end)
        assert start == pytest.approx(base, abs=0.005001)
        assert end == pytest.approx(base + gain - loss, abs=0.005001)
        assert min(plus, minus) >= 0
        assert max(abs(plus - gain), abs(minus - loss)) < 0.015


def test_images_on_a_grid_of_squares_are_counted_and_named_up_to_twenty():
    assert on_squares([], 9) == []
    (one,) = on_squares([3], 9)
    assert one.startswith("In 1 image of 9 SLIC finds")
    assert one.endswith("takes their place: test image 3.")
    (many,) = on_squares(range(25), 1000)
    assert many.startswith("In 25 images of 1,000 SLIC finds")
    assert many.endswith(", 18, 19 and 5 more.")
