"""Whether an explainer that draws random numbers says the same twice, judged by the weights that it gives regions."""

from itertools import combinations

import numpy as np

from glassbox.xai_metrics.base import Metric

RANK_AGREEMENT = Metric(
    "rank_agreement",
    "stability under the explainer's own randomness",
    True,
    "correlation, -1..1",
    "Spearman 1904, averaged over pairs of runs",
)
TOP_OVERLAP = Metric(
    "top_overlap",
    "stability under the explainer's own randomness",
    True,
    "share, 0..1",
    "Visani et al. 2022, Statistical stability indices for LIME: the variables stability index",
)


def rank_agreement(weights: np.ndarray) -> float:
    """Mean over all pairs of runs of the rank correlation of their weights.

    Args:
        weights: (R, S), R >= 2 runs on the same S regions.

    Returns:
        -1..1. A run that gives every region the same weight ranks nothing: its pairs count as 0. NaN where no run
        ranks anything.
    """
    from scipy.stats import rankdata

    ranks = rankdata(weights, axis=1)
    ranks -= ranks.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(ranks, axis=1)
    if not lengths.any():
        return float("nan")
    products = ranks @ ranks.T / np.maximum(np.outer(lengths, lengths), np.finfo(float).tiny)
    return float(np.mean([products[pair] for pair in combinations(range(len(weights)), 2)]))


def agreement_with(weights: np.ndarray, others: np.ndarray) -> float:
    """Mean over runs of the rank correlation of a run with the mean of the other runs of a better kind.

    Args:
        weights: (R, S), R >= 2 runs on the same S regions.
        others: (R, S), runs to compare with. The one in the same place is left out, so that with `weights` themselves
            no run is compared with itself, and that every mean is one of R - 1 runs.

    Returns:
        -1..1; NaN where neither a run nor the mean beside it ranks anything.
    """
    references = [np.delete(others, place, axis=0).mean(axis=0) for place in range(len(weights))]
    return float(np.mean([rank_agreement(np.stack(pair)) for pair in zip(weights, references, strict=True)]))


def top_overlap(weights: np.ndarray, k: int) -> float:
    """Mean over all pairs of runs of the share of their `k` strongest regions, by size of the weight, that they have in
    common.

    Args:
        weights: (R, S), R >= 2 runs on the same S regions.
        k: how many regions; at most all of them are compared.

    Returns:
        0..1. Runs that chose at random would share `overlap_by_chance`; so much is counted for the pairs of a run that
        gives every region the same weight, and so chooses none. NaN where no run gives any region a weight.
    """
    k, chance = min(k, weights.shape[1]), overlap_by_chance(weights.shape[1], k)
    tops = [set(row) for row in np.argsort(-np.abs(weights), axis=1, kind="stable")[:, :k].tolist()]
    chooses = np.ptp(np.abs(weights), axis=1) > 0
    if not weights.any():
        return float("nan")
    pairs = combinations(range(len(weights)), 2)
    return float(np.mean([len(tops[a] & tops[b]) / k if chooses[a] and chooses[b] else chance for a, b in pairs]))


def overlap_by_chance(regions: int, k: int) -> float:
    """What `top_overlap` is on average for runs that name `k` of the regions at random: k / regions (the mean of a
    hypergeometric distribution, divided by k)."""
    return min(k, regions) / regions
