import numpy as np
import pytest

from glassbox import bootstrap


def test_the_interval_of_a_normal_mean():
    values = np.random.default_rng(0).normal(size=400)
    low, high = bootstrap.interval(values, seed=1)
    half = 1.96 * values.std() / 20
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.15 * half)
    assert bootstrap.interval(values, seed=1) == (low, high)
    assert bootstrap.interval(np.array([0.3]), seed=1) == pytest.approx((0.3, 0.3))
