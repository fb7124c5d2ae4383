"""Explainers compared on the same images: paired tests with three outcomes, corrected for all comparisons of a report.

Wilcoxon's signed-rank test (1945) gives the direction, the p-value, the difference and its interval, so that they
cannot contradict each other. Holm's procedure (1979) over all comparisons of a report keeps the probability of even one
false "better" or "worse" at `LEVEL`, whatever their dependence.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import scipy

from glassbox.statistics.outcomes import BETTER, UNDECIDED, WORSE
from glassbox.statistics.paired import LEVEL

EXACT = 100  # images up to which p-values are exact
FEWEST = 6  # images; with 5 the smallest p-value of a signed-rank test is 2 / 2^5 = 0.0625


@dataclass(frozen=True)
class Comparison:
    """Scores of `a` minus those of `b`, image by image.

    Attributes:
        key: index of its row in the table of `compare`.
        a, b: names of the two.
        differences: (N,), NaN where an image lacks one of the two scores.
        higher_is_better: direction of the score.
    """

    key: Any
    a: str
    b: str
    differences: np.ndarray
    higher_is_better: bool


def signed_ranks(differences: np.ndarray) -> np.ndarray:
    """Ranks of the absolute differences (..., N), with the signs of the differences. Zeros are ranked, then count 0
    (Pratt 1959)."""
    return scipy.stats.rankdata(np.abs(differences), axis=-1) * np.sign(differences)


def statistic(differences: np.ndarray) -> np.ndarray:
    """Sum of the signed ranks of (..., N) differences, divided by its standard deviation under random signs: (...);
    0 if all differences are 0."""
    ranks = signed_ranks(differences)
    length = np.linalg.norm(ranks, axis=-1)
    return ranks.sum(axis=-1) / np.where(length > 0, length, 1)


def p_value(differences: np.ndarray) -> float:
    """Two-sided p-value of the signed-rank test of (N,) differences; 1 if all are 0. Up to `EXACT` images it is exact,
    ties included: the share of all 2^N signs whose sum of positive ranks is as extreme or more."""
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
    """P-values (M,), corrected so that the probability of even one false rejection stays at the level (Holm 1979)."""
    order = np.argsort(p, kind="stable")
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return corrected


def fewest(tests: int) -> int:
    """The fewest images with which one of so many corrected signed-rank tests can reject: N differences of one sign
    have p = 2 / 2^N."""
    return 1 + math.floor(math.log2(2 * tests / LEVEL))


def shift(differences: np.ndarray) -> tuple[float, float, float]:
    """The typical difference with its 95 % interval, both of the signed-rank test: the median of the means of all pairs
    of differences (Hodges & Lehmann 1963), and the shifts that the test would not reject (Walter & Tukey's counts:
    Hollander, Wolfe & Chicken 2014, section 3.3), from (N,) differences without NaN.

    Returns:
        Estimate, low, high. The ends are NaN with fewer than `FEWEST` images, and if they are equal: so many equal
        differences leave the spread unknown.
    """
    n = len(differences)
    if n == 0:
        return np.nan, np.nan, np.nan
    i, j = np.triu_indices(n)
    means = np.sort((differences[i] + differences[j]) / 2)
    low = high = np.nan
    if n >= FEWEST:
        spread = np.sqrt(n * (n + 1) * (2 * n + 1) / 24)
        cut = int(n * (n + 1) / 4 - scipy.stats.norm.isf(LEVEL / 2) * spread)
        if means[cut] < means[-1 - cut]:
            low, high = means[cut], means[-1 - cut]
    return float(np.median(means)), float(low), float(high)


def compare(family: Iterable[Comparison]) -> pd.DataFrame:
    """Test all comparisons of a family.

    Returns:
        A row for each comparison, indexed by its key: `a`, `b`, `n` images, `difference` with its interval `low`,
        `high` (see `shift`), `p` alone and `p_holm` corrected for the family, and `outcome`: whether a is "better" or
        "worse" than b, in the direction of the test, or "undecided".
    """
    rows = []
    for pair in family:
        known = pair.differences[~np.isnan(pair.differences)]
        outcome = BETTER if (statistic(known) > 0) == pair.higher_is_better else WORSE
        rows.append((pair.key, pair.a, pair.b, len(known), *shift(known), p_value(known), outcome))
    columns = ["key", "a", "b", "n", "difference", "low", "high", "p", "outcome"]
    table = pd.DataFrame(rows, columns=columns)
    table.insert(8, "p_holm", holm(table["p"].to_numpy(dtype=float)))
    table.loc[table["p_holm"] >= LEVEL, "outcome"] = UNDECIDED
    return table.set_index("key")


def mean_ranks(scores: dict[str, np.ndarray], higher_is_better: bool) -> dict[str, float]:
    """Mean over images of each explainer's rank, best first, from its scores (N,) without NaN of the same images in the
    same order. Rank 1 is best; ties share their mean rank."""
    ranks = pd.DataFrame(scores).rank(axis=1, ascending=not higher_is_better).mean()
    return ranks.sort_values(kind="stable").to_dict()


def cliques(best_first: list[str], differ: set[frozenset[str]]) -> list[tuple[str, ...]]:
    """The widest runs of two or more neighbours of which no two are in `differ`."""
    runs, reached = [], 0
    for start in range(len(best_first)):
        for stop in range(len(best_first), max(start + 1, reached), -1):
            run = tuple(best_first[start:stop])
            if not any(frozenset(pair) in differ for pair in combinations(run, 2)):
                runs.append(run)
                reached = stop
                break
    return runs
