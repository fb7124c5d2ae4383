"""Whether an explainer that draws random numbers says the same twice, judged by the weights that it gives regions."""

from itertools import combinations

import numpy as np

from glassbox.xai_metrics.base import Metric

RANK_AGREEMENT = Metric(
    "rank_agreement", "stability under the explainer's own randomness", True, "correlation, -1..1",
    "Spearman 1904, averaged over pairs of runs",
)  # fmt: skip
TOP_OVERLAP = Metric(
    "top_overlap", "stability under the explainer's own randomness", True, "share, 0..1",
    "Visani et al. 2022, Statistical stability indices for LIME: the variables stability index",
)  # fmt: skip


def rank_agreement(weights: np.ndarray) -> float:
    """Mean over all pairs of runs of the rank correlation of their weights.

    Args:
        weights: (R, S), R >= 2 runs on the same S regions.

    Returns:
        -1..1; NaN when a run gives every region the same weight, and so ranks nothing.
    """
    if (np.ptp(weights, axis=1) == 0).any():
        return float("nan")
    from scipy.stats import rankdata

    ranks = rankdata(weights, axis=1)
    correlations = np.corrcoef(ranks)
    return float(np.mean([correlations[pair] for pair in combinations(range(len(weights)), 2)]))


def top_overlap(weights: np.ndarray, k: int) -> float:
    """Mean over all pairs of runs of the share of their `k` strongest regions, by size of the weight, that they have in
    common.

    Args:
        weights: (R, S), R >= 2 runs on the same S regions.
        k: how many regions; at most all of them are compared.
    """
    k = min(k, weights.shape[1])
    tops = [set(row) for row in np.argsort(-np.abs(weights), axis=1, kind="stable")[:, :k].tolist()]
    return float(np.mean([len(a & b) / k for a, b in combinations(tops, 2)]))
