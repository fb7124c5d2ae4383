import numpy as np
import pytest

from glassbox.statistics import bootstrap


def test_the_interval_of_a_normal_mean():
    values = np.random.default_rng(0).normal(size=400)
    low, high = bootstrap.interval(values, seed=1)
    half = 1.96 * values.std() / 20
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.15 * half)
    assert bootstrap.interval(values, seed=1) == (low, high)


def test_too_few_or_equal_values_have_no_interval():
    values = np.random.default_rng(0).normal(size=bootstrap.FEWEST)
    assert np.isfinite(bootstrap.interval(values, seed=1)).all()
    for unknown in (values[:-1], values[:1], values[:0], np.full(400, 0.3)):
        assert np.isnan(bootstrap.interval(unknown, seed=1)).all()
    low, high = bootstrap.interval(np.repeat([0.3, 0.4], [390, 10]), seed=1)
    assert low < 0.3 + 10 / 4000 < high


def test_the_interval_follows_the_skewness():
    """It is longer above a mean of skewed values, and covers more often than percentiles of the resampled means."""
    rng, covered, of_percentiles = np.random.default_rng(0), 0, 0
    for sample in range(200):
        values = rng.lognormal(0, 1.5, 40)
        low, high = bootstrap.interval(values, seed=sample)
        assert high - values.mean() > values.mean() - low
        means = values[rng.integers(0, 40, (500, 40))].mean(axis=1)
        ends = np.quantile(means, [0.025, 0.975])
        covered += low <= np.exp(1.125) <= high
        of_percentiles += ends[0] <= np.exp(1.125) <= ends[1]
    assert covered > of_percentiles + 5
    assert covered >= 170
