import numpy as np
import pytest

from glassbox.statistics import power as p

RNG = np.random.default_rng(0)


def test_power_grows_with_images_and_falls_with_tests():
    differences = RNG.normal(0.5, 1, 60)
    few, many = (p.power(differences, images, 1, seed=0) for images in (12, 100))
    assert few < 0.6 < 0.95 < many
    assert p.power(differences, 60, 200, seed=0) < p.power(differences, 60, 1, seed=0)


def test_the_power_for_a_normal_difference():
    # Of a difference of half a standard deviation with 34 images: 80 % of t tests; signed ranks have 95.5 % of their
    # efficiency. Drawn from many differences, so that their mean is the law's own.
    differences = RNG.normal(size=4000)
    differences = (differences - differences.mean()) / differences.std() + 0.5
    assert p.power(differences, 34, 1, seed=0) == pytest.approx(0.78, abs=0.1)


def test_the_number_of_images_that_a_difference_needs():
    strong, weak = RNG.normal(1, 1, 100), RNG.normal(0.3, 1, 100)
    assert p.needed(strong, 1, seed=0) <= 20 < 60 <= p.needed(weak, 1, seed=0)
    assert p.needed(np.tile([-1.0, 1.0], 30), 10, seed=0) == np.inf


def test_the_detectable_difference_grows_with_the_spread():
    differences = RNG.normal(0, 1, 60)
    wide = p.detectable(differences, 100, seed=0)
    assert 0.3 < wide < 1
    assert p.detectable(differences, 100, seed=0) == wide
    assert p.detectable(RNG.normal(0, 0.1, 60), 100, seed=0) == pytest.approx(wide / 10, rel=0.3)
    assert p.detectable(RNG.normal(0, 1, 240), 100, seed=0) < 0.7 * wide
    assert p.detectable(np.zeros(20), 100, seed=0) == 0
