"""Two classifiers compared on the same test images: which one is better in which metric, and what is undecided."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import scipy

from glassbox.core.text import counted, listed
from glassbox.evaluation import calibration
from glassbox.evaluation.classification import confusion
from glassbox.statistics import bootstrap, paired
from glassbox.statistics.comparison import holm
from glassbox.statistics.outcomes import BETTER, UNDECIDED, WORSE
from glassbox.statistics.paired import LEVEL, POWER, fewest_discordant
from glassbox.xai_metrics.stability import overlap_by_chance, rank_agreement, top_overlap

# Fewest images on which the two must differ for an interval of the mean difference to cover 92 %
# (benchmarks/coverage_of_differences.py): a few confident mistakes make most of a log loss.
FEWEST = {"log_loss": 300, "brier": bootstrap.FEWEST}
TOP = 0.1  # share of the pixels that count for the overlap of two maps

TITLES = {
    "accuracy": "test accuracy",
    "macro_f1": "macro F1",
    "log_loss": "log loss",
    "brier": "Brier score",
    "ece": "calibration error (ECE)",
}
HIGHER_IS_BETTER = ("accuracy", "macro_f1")
UNTESTED = "not tested"  # outcome of a metric without a test


@dataclass(frozen=True)
class Answers:
    """A classifier's (N, K) probabilities for the test images, and the (N,) true classes."""

    labels: np.ndarray
    probabilities: np.ndarray

    @property
    def predicted(self) -> np.ndarray:
        """(N,) classes."""
        return self.probabilities.argmax(axis=1)

    @property
    def right(self) -> np.ndarray:
        """(N,) bool."""
        return self.predicted == self.labels


@dataclass(frozen=True)
class Versus:
    """B compared with A.

    A row of `metrics` has `metric`, `a`, `b`, `difference` (b - a), its 95 % interval `low`, `high`, `p` of its test
    and `p_holm`, corrected for the number of metrics tested (NaN without interval or test), and `outcome`: B is
    "better" or "worse" than A, "undecided" or "not tested".
    """

    metrics: pd.DataFrame
    images: int  # N
    right: tuple[int, int]  # number of images that A, and that B, recognises
    only_a: np.ndarray  # rows that A alone recognises, first those to whose wrong class B gives the most probability
    only_b: np.ndarray  # rows that B alone recognises, likewise
    same: bool  # whether both give the same probabilities
    matrix: np.ndarray  # (K, K) confusion matrix of B minus that of A

    @property
    def discordant(self) -> int:
        """Number of images that only one of the two recognises."""
        return len(self.only_a) + len(self.only_b)


def versus(a: Answers, b: Answers, bins: int, seed: int) -> Versus:
    """Compare two classifiers on the same images. Accuracy, macro F1, log loss and Brier score are tested at 5 %
    together (Holm 1979); the calibration error, of so many `bins`, is not. Intervals and random exchanges take `seed`.
    """
    assert np.array_equal(a.labels, b.labels)
    labels, (n, k) = a.labels, a.probabilities.shape
    only_a, only_b = _only(a, b), _only(b, a)
    counts = len(only_a), len(only_b)
    rows = [
        _row("accuracy", a.right.mean(), b.right.mean(), paired.accuracy_interval(*counts, n), paired.mcnemar(*counts)),
        _row(
            "macro_f1",
            paired.macro_f1(labels, a.predicted, k),
            paired.macro_f1(labels, b.predicted, k),
            paired.macro_f1_interval(labels, a.predicted, b.predicted, k),
            paired.exchange_test(labels, a.predicted, b.predicted, k, seed),
        ),
        *(_of_means(metric, of_images(a), of_images(b), seed) for metric, of_images in BY_IMAGE.items()),
        _row("ece", _ece(a, bins), _ece(b, bins)),
    ]
    return Versus(
        metrics=with_outcomes(pd.DataFrame(rows)),
        images=n,
        right=(int(a.right.sum()), int(b.right.sum())),
        only_a=only_a,
        only_b=only_b,
        same=np.array_equal(a.probabilities, b.probabilities),
        matrix=confusion(labels, b.predicted, k) - confusion(labels, a.predicted, k),
    )


def _only(right: Answers, wrong: Answers) -> np.ndarray:
    """Rows of the images that only the first recognises, in the order of `Versus.only_a`."""
    rows = np.flatnonzero(right.right & ~wrong.right)
    return rows[np.argsort(-wrong.probabilities[rows].max(axis=1), kind="stable")]


def with_outcomes(table: pd.DataFrame) -> pd.DataFrame:
    """The same rows with `p_holm` and `outcome`; see `Versus`. The direction is the sign of the difference."""
    tested = table["p"].notna()
    table = table.assign(p_holm=np.nan)
    table.loc[tested, "p_holm"] = holm(table.loc[tested, "p"].to_numpy())
    gain = table["difference"] * table["metric"].isin(HIGHER_IS_BETTER).map({True: 1, False: -1})
    decided = table["p_holm"] < LEVEL
    outcome = np.select([~tested, decided & (gain > 0), decided & (gain < 0)], [UNTESTED, BETTER, WORSE], UNDECIDED)
    return table.assign(outcome=outcome)


def n_tests(metrics: pd.DataFrame) -> int:
    """Number of metrics that are tested."""
    return int(metrics["p"].notna().sum())


def verdict(found: Versus, a: str, b: str) -> list[str]:
    """The outcomes in sentences: one on accuracy, one on the other metrics, and if accuracy is undecided one on the
    difference that could have been found. a and b are the names of the two.
    """
    if found.same:
        return [
            f"On the same {counted(found.images, 'test image')} {a} and {b} give the same probabilities: every metric "
            "is the same, and there is nothing to test."
        ]
    rows = found.metrics.set_index("metric")
    sentences = [_on_accuracy(found, rows.loc["accuracy"], a, b), _on_others(rows, a, b)]
    if rows.loc["accuracy", "outcome"] == UNDECIDED and found.discordant:
        sentences.append(_on_power(found))
    return sentences


def _on_accuracy(found: Versus, row: pd.Series, a: str, b: str) -> str:
    counts = (
        f"On the same {counted(found.images, 'test image')} {a} is right on {found.right[0]:,} and {b} on "
        f"{found.right[1]:,}"
    )
    test = f"McNemar's exact test on the {counted(found.discordant)} that only one of them recognises"
    least = fewest_discordant()
    if not found.discordant:
        reason = f"there is no image that only one of them recognises, and McNemar's exact test needs {least} to reject"
    elif found.discordant < least:
        reason = f"{test}, which cannot reject (at least {least} are needed at {100 * LEVEL:g} %)"
    else:
        reason = f"{test}, p = {row['p_holm']:.2g} after Holm's correction"
    if row["outcome"] == UNDECIDED:
        return f"{counts}; test accuracy is undecided: {reason}."
    better, worse = (b, a) if row["outcome"] == BETTER else (a, b)
    size, low, high = (100 * value for value in _size(row))
    return (
        f"{counts}; {better} is better than {worse} in test accuracy, by {size:.2f} percentage points, 95 % interval "
        f"[{low:.2f}, {high:.2f}] ({reason})."
    )


def _on_others(rows: pd.DataFrame, a: str, b: str) -> str:
    """The metrics other than accuracy, outcome by outcome."""
    others = rows.loc[["macro_f1", *BY_IMAGE]]
    parts = []
    for outcome, better in ((BETTER, b), (WORSE, a)):
        won = [_won(name, row) for name, row in others[others["outcome"] == outcome].iterrows()]
        if won:
            parts.append(f"{better} is better in {listed(won)}")
    for outcome in (UNDECIDED, UNTESTED):
        left = [
            TITLES[name] + (f" (which needs {FEWEST[name]} images that differ in it)" if outcome == UNTESTED else "")
            for name in others.index[others["outcome"] == outcome]
        ]
        if left:
            parts.append(f"{listed(left)} {'is' if len(left) == 1 else 'are'} {outcome}")
    return f"After Holm's correction for {n_tests(rows)} tests {'; '.join(parts)}."


def _won(name: str, row: pd.Series) -> str:
    """A metric with the size of its difference, and the interval if it has one."""
    size, low, high = _size(row)
    ends = "" if np.isnan(low) else f", 95 % interval [{low:.4f}, {high:.4f}]"
    return f"{TITLES[name]} ({'higher' if name in HIGHER_IS_BETTER else 'lower'} by {size:.4f}{ends})"


def _size(row: pd.Series) -> tuple[float, float, float]:
    """The absolute difference, and the ends of its interval."""
    low, high = sorted(np.sign(row["difference"]) * row[["low", "high"]].to_numpy(float))
    return abs(row["difference"]), low, high


def _on_power(found: Versus) -> str:
    n, d, least = found.images, found.discordant, fewest_discordant()
    rate = f"At this rate of disagreement ({d} of {counted(n)})"
    if d < least:
        return f"{rate} about {-(-least * n // d):,} test images would give {least} such images."
    points = 100 * paired.smallest_difference(d, n)
    return (
        f"{rate} a true difference of less than {points:.1f} percentage points is found in fewer than "
        f"{100 * POWER:g} % of test sets of this size."
    )


def agreement(a: np.ndarray, b: np.ndarray) -> pd.DataFrame:
    """Agreement of two classifiers' maps (N, H, W) of the same images and classes, a row an image: Spearman's
    `rank_correlation` of the pixels, `top_overlap`, the share of the strongest tenth of them that both have, and its
    value by chance, `overlap_by_chance`."""
    pixels = a[0].size if len(a) else 1
    k = max(1, round(TOP * pixels))
    pairs = [np.stack([first.ravel(), second.ravel()]) for first, second in zip(a, b, strict=True)]
    return pd.DataFrame(
        {
            "rank_correlation": [rank_agreement(pair) for pair in pairs],
            "top_overlap": [top_overlap(pair, k) for pair in pairs],
            "overlap_by_chance": overlap_by_chance(pixels, k),
        }
    )


def _row(
    metric: str, a: float, b: float, ends: tuple[float, float] = (np.nan, np.nan), p: float = np.nan
) -> dict[str, Any]:
    return {"metric": metric, "a": a, "b": b, "difference": b - a, "low": ends[0], "high": ends[1], "p": p}


def enough(metric: str, differences: np.ndarray) -> bool:
    """Whether the mean of (N,) differences of a metric is tested and has an interval."""
    return np.count_nonzero(differences) >= FEWEST[metric]


def _of_means(metric: str, a: np.ndarray, b: np.ndarray, seed: int) -> dict[str, Any]:
    """A metric that is a mean of (N,) values: Student's t test of the differences, and an interval of their mean, if
    enough images differ."""
    difference = b - a
    if not enough(metric, difference):
        return _row(metric, a.mean(), b.mean())
    p = float(scipy.stats.ttest_1samp(difference, 0).pvalue) if np.ptp(difference) else 0.0  # no t if all are equal
    return _row(metric, a.mean(), b.mean(), bootstrap.interval(difference, seed), p)


def _log_loss(answers: Answers) -> np.ndarray:
    """(N,) nats; a probability below the smallest float64 counts as that one."""
    p = answers.probabilities[np.arange(len(answers.labels)), answers.labels]
    return -np.log(np.maximum(p, np.finfo(float).tiny))


def _brier(answers: Answers) -> np.ndarray:
    """(N,) 0..2."""
    return calibration.brier_by_image(answers.probabilities, answers.labels)


BY_IMAGE: dict[str, Callable[[Answers], np.ndarray]] = {"log_loss": _log_loss, "brier": _brier}


def _ece(answers: Answers, bins: int) -> float:
    return calibration.expected_calibration_error(calibration.reliability(answers.probabilities, answers.labels, bins))
