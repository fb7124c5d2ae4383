"""Confidence intervals of means over images."""

import numpy as np

INTERVAL = 0.95
RESAMPLES = 2000
FEWEST = 40  # values; with fewer the interval covers the mean too seldom in some study, see docs/claims.md


def interval(values: np.ndarray, seed: int) -> tuple[float, float]:
    """The interval of `studentized`; NaN ends with fewer than `FEWEST` values."""
    return studentized(values, seed) if len(values) >= FEWEST else (np.nan, np.nan)


def studentized(values: np.ndarray, seed: int) -> tuple[float, float]:
    """95 % interval of the mean of (N,) values by the studentized bootstrap (Efron & Tibshirani 1993, section 12.5),
    which follows the skewness of scores; NaN ends if all values are equal, since their spread is then unknown."""
    n = len(values)
    if np.ptp(values) == 0:
        return np.nan, np.nan
    draws = values[np.random.default_rng(seed).integers(0, n, (RESAMPLES, n))]  # (R, N)
    errors = draws.std(axis=1, ddof=1)
    varied = errors > 0
    t = (draws[varied].mean(axis=1) - values.mean()) / errors[varied]
    low, high = np.quantile(t, [(1 - INTERVAL) / 2, (1 + INTERVAL) / 2])
    spread = values.std(ddof=1)
    return float(values.mean() - high * spread), float(values.mean() - low * spread)
