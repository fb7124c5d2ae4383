"""Intervals of means over images."""

import numpy as np

INTERVAL = 0.95
RESAMPLES = 2000
FEWEST = 5  # values: a bootstrap of fewer is hardly more than the values themselves


def interval(values: np.ndarray, seed: int) -> tuple[float, float]:
    """95 % percentile bootstrap interval (Efron 1979) of the mean of (N,) values."""
    draws = np.random.default_rng(seed).integers(0, len(values), (RESAMPLES, len(values)))
    low, high = np.quantile(values[draws].mean(axis=1), [(1 - INTERVAL) / 2, (1 + INTERVAL) / 2])
    return float(low), float(high)
