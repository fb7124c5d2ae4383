"""Sparseness: on how few pixels the attribution concentrates. It ranks nothing: one random pixel would win."""

import numpy as np

from glassbox.xai_metrics.base import Metric, Sample, Scores

CHALASANI = "Chalasani et al. 2020, Concise Explanations of Neural Networks using Adversarial Training"
GINI = Metric(
    "gini",
    "sparseness",
    None,
    "0 (all pixels alike) to 1 - 1/pixels (one pixel)",
    f"{CHALASANI}; Hurley & Rickard 2009",
)
METRICS = (GINI,)


def measure(sample: Sample) -> Scores:
    """Of all pixels."""
    yield GINI, "all pixels", gini(sample.maps)


def gini(maps: np.ndarray) -> np.ndarray:
    """Gini index of the absolute values of maps (N, H, W): (N,). NaN for a map of zeros."""
    values = np.sort(np.abs(maps).reshape(len(maps), -1).astype(np.float64), axis=1)  # (N, D), rising
    d = values.shape[1]
    total = values.sum(axis=1)
    shares = values / np.where(total > 0, total, 1)[:, None]
    below = (d - np.arange(1, d + 1) + 0.5) / d
    return np.where(total > 0, 1 - 2 * (shares * below).sum(axis=1), np.nan)
