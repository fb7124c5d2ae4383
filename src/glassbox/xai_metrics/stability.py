"""Agreement of an explainer's runs with different random numbers, by the weights that they give to regions."""

from itertools import combinations

import numpy as np

from glassbox.xai_metrics.base import Metric

STABILITY = "stability under the explainer's own randomness"
SPEARMAN = "Spearman 1904, averaged over pairs of runs"
VISANI = "Visani et al. 2022, Statistical stability indices for LIME: the variables stability index"
RANK_AGREEMENT = Metric("rank_agreement", STABILITY, True, "correlation, -1..1", SPEARMAN)
TOP_OVERLAP = Metric("top_overlap", STABILITY, True, "share, 0..1", VISANI)


def rank_agreement(weights: np.ndarray) -> float:
    """Mean rank correlation, -1..1, of all pairs of R >= 2 runs' weights (R, S) of the same S regions. Pairs with a run
    whose weights are all equal count as 0; NaN if this holds for all runs."""
    from scipy.stats import rankdata

    ranks = rankdata(weights, axis=1)
    ranks -= ranks.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(ranks, axis=1)
    if not lengths.any():
        return float("nan")
    products = ranks @ ranks.T / np.maximum(np.outer(lengths, lengths), np.finfo(float).tiny)
    return float(np.mean([products[pair] for pair in combinations(range(len(weights)), 2)]))


def agreement_with(weights: np.ndarray, others: np.ndarray) -> float:
    """Mean over runs of the rank correlation, -1..1, of a run with the mean of other runs; NaN if both of such a pair
    give every region the same weight.

    Args:
        weights: (R, S), R >= 2 runs on the same S regions.
        others: (R, S), runs to compare with. The mean leaves out the one at the same place, so that if these are
            `weights` themselves no run is compared with itself.
    """
    references = [np.delete(others, place, axis=0).mean(axis=0) for place in range(len(weights))]
    return float(np.mean([rank_agreement(np.stack(pair)) for pair in zip(weights, references, strict=True)]))


def top_overlap(weights: np.ndarray, k: int) -> float:
    """Mean over all pairs of R >= 2 runs of the share, 0..1, of their `k` regions with the largest absolute weight that
    they have in common. Pairs with a run whose absolute weights are all equal count as `overlap_by_chance`; NaN if all
    weights (R, S) are 0."""
    k, chance = min(k, weights.shape[1]), overlap_by_chance(weights.shape[1], k)
    tops = [set(row) for row in np.argsort(-np.abs(weights), axis=1, kind="stable")[:, :k].tolist()]
    chooses = np.ptp(np.abs(weights), axis=1) > 0
    if not weights.any():
        return float("nan")
    pairs = combinations(range(len(weights)), 2)
    return float(np.mean([len(tops[a] & tops[b]) / k if chooses[a] and chooses[b] else chance for a, b in pairs]))


def overlap_by_chance(regions: int, k: int) -> float:
    """Mean `top_overlap` of runs that choose `k` regions at random: k / regions (the mean of a hypergeometric
    distribution, divided by k)."""
    return min(k, regions) / regions
