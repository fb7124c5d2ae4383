"""Explainers compared on the same images: paired tests, corrected for their number, and a ranking that says where it
cannot tell."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
import scipy

from glassbox import bootstrap

LEVEL = 0.05  # of the corrected tests


@dataclass(frozen=True)
class Ranking:
    """Explainers by one metric, best first.

    Attributes:
        mean_ranks: over images, 1 is best, ties share their ranks; by name.
        friedman: p-value of the hypothesis that all explainers are alike (Friedman 1937); 1 for fewer than three, for
            which there is no such test.
        pairs: of `paired`.
        cliques: groups of neighbours in the ranking of which no two differ, the widest ones only: the bars of a
            critical-difference diagram.
    """

    mean_ranks: dict[str, float]
    friedman: float
    pairs: pd.DataFrame
    cliques: list[tuple[str, ...]]


def holm(p: np.ndarray) -> np.ndarray:
    """P-values of M tests, corrected so that the chance of even one false alarm stays at the level (Holm 1979).

    Args:
        p: (M,).
    """
    order = np.argsort(p, kind="stable")
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return corrected


def paired(scores: dict[str, np.ndarray], seed: int, pairs: Iterable[tuple[str, str]] | None = None) -> pd.DataFrame:
    """Explainers compared two by two, image by image.

    Args:
        scores: (N,) of each explainer, of the same images in the same order.
        seed: of the bootstrap.
        pairs: which two; None = every two.

    Returns:
        A row a pair: `a`, `b`; `difference`, the mean of a - b, with the 95 % bootstrap interval `low`, `high`; `p` of
        Wilcoxon's signed-rank test (1945; images without a difference count by Pratt's rule), and `p_holm`.
    """
    rows = []
    for a, b in combinations(scores, 2) if pairs is None else pairs:
        difference = np.asarray(scores[a] - scores[b], float)
        low, high = bootstrap.interval(difference, seed)
        p = scipy.stats.wilcoxon(difference, zero_method="pratt").pvalue if difference.any() else 1.0
        rows.append({"a": a, "b": b, "difference": difference.mean(), "low": low, "high": high, "p": float(p)})
    table = pd.DataFrame(rows, columns=["a", "b", "difference", "low", "high", "p"])
    return table.assign(p_holm=holm(table["p"].to_numpy()))


def mean_ranks(scores: dict[str, np.ndarray], higher_is_better: bool) -> dict[str, float]:
    """Ranks within each image, 1 is best, ties share theirs; their means over images, best first.

    Args:
        scores: (N,) of each explainer, of the same images in the same order.
        higher_is_better: direction of the metric.
    """
    values = np.stack(list(scores.values()), axis=1)  # (N, E)
    ranks = scipy.stats.rankdata(-values if higher_is_better else values, axis=1).mean(axis=0)
    order = np.argsort(ranks, kind="stable")
    names = list(scores)
    return {names[place]: float(ranks[place]) for place in order}


def rank(scores: dict[str, np.ndarray], higher_is_better: bool, seed: int) -> Ranking:
    """Rank explainers by one metric; see `Ranking`.

    Args:
        scores: (N,) of each explainer, of the same images in the same order.
        higher_is_better: direction of the metric.
        seed: of the bootstrap.
    """
    ranks, values = mean_ranks(scores, higher_is_better), np.stack(list(scores.values()), axis=1)  # (N, E)
    told_apart = len(scores) > 2 and bool(np.ptp(values, axis=1).any())
    friedman = float(scipy.stats.friedmanchisquare(*values.T).pvalue) if told_apart else 1.0
    pairs = paired(scores, seed)
    differ = {frozenset((row.a, row.b)) for row in pairs.itertuples() if row.p_holm < LEVEL}
    return Ranking(ranks, friedman, pairs, cliques(list(ranks), differ))


def cliques(best_first: list[str], differ: set[frozenset[str]]) -> list[tuple[str, ...]]:
    """The widest runs of two or more neighbours of which no two are in `differ`."""
    found: list[tuple[int, int]] = []
    for start in range(len(best_first)):
        stop = start + 1
        while stop < len(best_first) and not any(
            frozenset((best_first[stop], other)) in differ for other in best_first[start:stop]
        ):
            stop += 1
        if stop - start > 1 and (not found or stop > found[-1][1]):
            found.append((start, stop))
    return [tuple(best_first[start:stop]) for start, stop in found]
