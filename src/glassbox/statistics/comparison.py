"""Explainers compared on the same images: paired tests with three outcomes, corrected for all comparisons of a report.

Wilcoxon's signed-rank test (1945) tells the direction and gives the p-value, the difference and its interval, so that
they cannot contradict each other. Holm's procedure (1979) over all comparisons of a report keeps the chance of even one
false "better" or "worse" among them at `LEVEL`, however they depend on each other.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import scipy

from glassbox.statistics.outcomes import BETTER, UNDECIDED, WORSE
from glassbox.statistics.paired import LEVEL

EXACT = 100  # images, up to which p-values are exact
FEWEST = 6  # images: with 5 the smallest p-value of a signed-rank test is 2 / 2^5 = 0.0625


@dataclass(frozen=True)
class Comparison:
    """Scores of `a` less those of `b`, image by image.

    Attributes:
        key: by which it is found again.
        a, b: what is compared.
        differences: (N,), NaN where an image has no score of one of the two.
        higher_is_better: direction of the score.
    """

    key: Any
    a: str
    b: str
    differences: np.ndarray
    higher_is_better: bool


def signed_ranks(differences: np.ndarray) -> np.ndarray:
    """Ranks of the sizes of differences (..., N), with their signs; images without a difference take part in the
    ranking and count nothing (Pratt 1959)."""
    return scipy.stats.rankdata(np.abs(differences), axis=-1) * np.sign(differences)


def statistic(differences: np.ndarray) -> np.ndarray:
    """Sum of the signed ranks of (..., N) differences in units of its standard deviation when every sign is a coin:
    (...); 0 where no image differs."""
    ranks = signed_ranks(differences)
    length = np.linalg.norm(ranks, axis=-1)
    return ranks.sum(axis=-1) / np.where(length > 0, length, 1)


def p_value(differences: np.ndarray) -> float:
    """Two-sided p-value of the signed-rank test of (N,) differences; 1 where no image differs. Of up to `EXACT` images
    it is exact, ties included: the share of all 2^N signs whose positive ranks have such a sum or a more extreme one.
    """
    ranks = signed_ranks(differences)
    if not ranks.any():
        return 1.0
    if len(ranks) > EXACT:
        return float(2 * scipy.stats.norm.sf(abs(statistic(differences))))
    doubled = np.rint(2 * ranks).astype(int)  # ranks of ties are halves
    sums = np.zeros(np.abs(doubled).sum() + 1)  # probability of each sum of positive ranks
    sums[0] = 1
    for rank in np.abs(doubled[doubled != 0]):
        sums[rank:] += sums[:-rank].copy()
        sums /= 2
    positive = doubled[doubled > 0].sum()
    return float(min(1, 2 * min(sums[: positive + 1].sum(), sums[positive:].sum())))


def holm(p: np.ndarray) -> np.ndarray:
    """P-values of M tests, corrected so that the chance of even one false alarm stays at the level (Holm 1979).

    Args:
        p: (M,).
    """
    order = np.argsort(p, kind="stable")
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return corrected


def fewest(tests: int) -> int:
    """Images below which none of so many corrected signed-rank tests can reject: N differences of one sign have
    p = 2 / 2^N."""
    return 1 + math.floor(math.log2(2 * tests / LEVEL))


def shift(differences: np.ndarray) -> tuple[float, float, float]:
    """The typical difference with its 95 % interval, both of the signed-rank test: the median of the means of all pairs
    of differences (Hodges & Lehmann 1963), and the shifts that the test would not reject (Walter & Tukey's counts:
    Hollander, Wolfe & Chicken 2014, section 3.3).

    Args:
        differences: (N,) without NaN.

    Returns:
        Estimate, low, high; NaN ends with fewer than `FEWEST` images, or where both would be the same, as they are
        where so many differences are alike that they do not tell how far the next one may be.
    """
    n = len(differences)
    if n == 0:
        return np.nan, np.nan, np.nan
    i, j = np.triu_indices(n)
    means = np.sort((differences[i] + differences[j]) / 2)
    if n < FEWEST:
        return float(np.median(means)), np.nan, np.nan
    spread = np.sqrt(n * (n + 1) * (2 * n + 1) / 24)
    cut = int(n * (n + 1) / 4 - scipy.stats.norm.isf(LEVEL / 2) * spread)
    low, high = (means[cut], means[-1 - cut]) if means[cut] < means[-1 - cut] else (np.nan, np.nan)
    return float(np.median(means)), float(low), float(high)


def compare(family: Iterable[Comparison]) -> pd.DataFrame:
    """Test all comparisons of a family.

    Returns:
        A row a comparison, indexed by its key: `a`, `b`, `n` images, `difference` with its interval `low`, `high` (see
        `shift`), `p` alone and `p_holm` corrected for the family, and `outcome`: whether a is "better" or "worse" than
        b, in the direction of the test, or "undecided".
    """
    rows = []
    for one in family:
        known = one.differences[~np.isnan(one.differences)]
        difference, low, high = shift(known)
        better = statistic(known) * (1 if one.higher_is_better else -1)
        rows.append(
            {
                "key": one.key,
                "a": one.a,
                "b": one.b,
                "n": len(known),
                "difference": difference,
                "low": low,
                "high": high,
                "p": p_value(known),
                "outcome": BETTER if better > 0 else WORSE,
            }
        )
    columns = ["key", "a", "b", "n", "difference", "low", "high", "p", "outcome"]
    table = pd.DataFrame(rows, columns=columns)
    table.insert(8, "p_holm", holm(table["p"].to_numpy(dtype=float)))
    table.loc[table["p_holm"] >= LEVEL, "outcome"] = UNDECIDED
    return table.set_index("key")


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
