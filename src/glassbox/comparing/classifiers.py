"""Two classifiers judged on the same test images: in which metrics is one better, and what is undecided?"""

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

# Images, at least, on which the two must differ for an interval of the mean difference to cover 92 %
# (benchmarks/coverage_of_differences.py): a few confident mistakes make most of a log loss.
FEWEST = {"log_loss": 300, "brier": bootstrap.FEWEST}
TOP = 0.1  # share of the pixels that the overlap of two maps looks at

TITLES = {
    "accuracy": "test accuracy",
    "macro_f1": "macro F1",
    "log_loss": "log loss",
    "brier": "Brier score",
    "ece": "calibration error (ECE)",
}
HIGHER_IS_BETTER = ("accuracy", "macro_f1")
UNTESTED = "not tested"  # outcome of a metric without a test, beside those of `names`


@dataclass(frozen=True)
class Answers:
    """A classifier's predictions for the test images.

    Attributes:
        labels: (N,) true classes.
        probabilities: (N, K).
    """

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
    """B against A.

    Attributes:
        metrics: a row each: `metric`, `a`, `b`, `difference` (b - a), its 95 % interval `low`, `high` (NaN where there
            is none), `p` of its test and `p_holm`, corrected for the number of metrics tested (NaN where there is no
            test), and `outcome`: B is "better" or "worse" than A, "undecided" or "not tested".
        images: N.
        right: images that A, and that B, recognises.
        only_a, only_b: rows of images that A alone, and B alone, recognises; those for which the other one gives its
            wrong class the highest probability come first.
        same: whether both give the same probabilities.
        matrix: (K, K) confusion matrix of B less that of A.
    """

    metrics: pd.DataFrame
    images: int
    right: tuple[int, int]
    only_a: np.ndarray
    only_b: np.ndarray
    same: bool
    matrix: np.ndarray

    @property
    def discordant(self) -> int:
        """Images that only one of the two recognises."""
        return len(self.only_a) + len(self.only_b)


def versus(a: Answers, b: Answers, bins: int, seed: int) -> Versus:
    """Compare two classifiers on the same images. Accuracy, macro F1, log loss and Brier score are tested at 5 %
    together (Holm 1979); the calibration error is not.

    Args:
        a, b: of the same images in the same order.
        bins: of the calibration error.
        seed: of the intervals and of the random exchanges.
    """
    assert np.array_equal(a.labels, b.labels)
    n, n_classes = a.probabilities.shape
    only_a, only_b = (np.flatnonzero(one.right & ~other.right) for one, other in ((a, b), (b, a)))
    counts = len(only_a), len(only_b)
    f1_ends = paired.macro_f1_interval(a.labels, a.predicted, b.predicted, n_classes)
    rows = [
        _row("accuracy", a.right.mean(), b.right.mean(), paired.accuracy_interval(*counts, n), paired.mcnemar(*counts)),
        _row(
            "macro_f1",
            *(paired.macro_f1(one.labels, one.predicted, n_classes) for one in (a, b)),
            f1_ends,
            paired.exchange_test(a.labels, a.predicted, b.predicted, n_classes, seed),
        ),
        *(_of_means(metric, of_images(a), of_images(b), seed) for metric, of_images in BY_IMAGE.items()),
        _row("ece", _ece(a, bins), _ece(b, bins), (np.nan, np.nan), np.nan),
    ]
    return Versus(
        metrics=with_outcomes(pd.DataFrame(rows)),
        images=n,
        right=(int(a.right.sum()), int(b.right.sum())),
        only_a=only_a[np.argsort(-b.probabilities[only_a].max(axis=1), kind="stable")],
        only_b=only_b[np.argsort(-a.probabilities[only_b].max(axis=1), kind="stable")],
        same=np.array_equal(a.probabilities, b.probabilities),
        matrix=confusion(b.labels, b.predicted, n_classes) - confusion(a.labels, a.predicted, n_classes),
    )


def with_outcomes(table: pd.DataFrame) -> pd.DataFrame:
    """The same rows with `p_holm` and `outcome`; see `Versus`. The direction is that of the test: the sign of the
    difference whose size it judges."""
    tested = table["p"].notna()
    table = table.assign(p_holm=np.nan)
    table.loc[tested, "p_holm"] = holm(table.loc[tested, "p"].to_numpy())
    gain = table["difference"] * table["metric"].isin(HIGHER_IS_BETTER).map({True: 1, False: -1})
    decided = table["p_holm"] < LEVEL
    outcome = np.select([~tested, decided & (gain > 0), decided & (gain < 0)], [UNTESTED, BETTER, WORSE], UNDECIDED)
    return table.assign(outcome=outcome)


def n_tests(metrics: pd.DataFrame) -> int:
    """How many of the metrics are tested."""
    return int(metrics["p"].notna().sum())


def verdict(found: Versus, a: str, b: str) -> list[str]:
    """What was tested on what, and how each test came out: a sentence on accuracy, one on the other metrics, and where
    accuracy is undecided one on what could have been found.

    Args:
        found: of `versus`.
        a, b: names of the two.
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
    low, high = (100 * end for end in _toward_winner(row))
    return (
        f"{counts}; {better} is better than {worse} in test accuracy, by {100 * abs(row['difference']):.2f} percentage "
        f"points, 95 % interval [{low:.2f}, {high:.2f}] ({reason})."
    )


def _on_others(rows: pd.DataFrame, a: str, b: str) -> str:
    """On the metrics besides accuracy, outcome by outcome."""
    others = rows.loc[["macro_f1", *BY_IMAGE]]
    parts = []
    for outcome, better in ((BETTER, b), (WORSE, a)):
        won = [
            f"{TITLES[name]} ({'higher' if name in HIGHER_IS_BETTER else 'lower'} by {_by(row)})"
            for name, row in others[others["outcome"] == outcome].iterrows()
        ]
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
    """How far two classifiers' maps of the same images and classes agree, a row an image: Spearman's `rank_correlation`
    of the pixels, and `top_overlap`, the share of the strongest tenth of them that both have; by chance that is
    `overlap_by_chance`.

    Args:
        a, b: (N, H, W).
    """
    pixels = a[0].size if len(a) else 1
    k = max(1, round(TOP * pixels))
    pairs = [np.stack([one.ravel(), other.ravel()]) for one, other in zip(a, b, strict=True)]
    return pd.DataFrame(
        {
            "rank_correlation": [rank_agreement(pair) for pair in pairs],
            "top_overlap": [top_overlap(pair, k) for pair in pairs],
            "overlap_by_chance": overlap_by_chance(pixels, k),
        }
    )


def _row(metric: str, a: float, b: float, ends: tuple[float, float], p: float) -> dict[str, Any]:
    return {"metric": metric, "a": a, "b": b, "difference": b - a, "low": ends[0], "high": ends[1], "p": p}


def enough(metric: str, differences: np.ndarray) -> bool:
    """Whether a mean over images, of which these are the (N,) differences, is tested and has an interval."""
    return np.count_nonzero(differences) >= FEWEST[metric]


def _of_means(metric: str, a: np.ndarray, b: np.ndarray, seed: int) -> dict[str, Any]:
    """A metric that is a mean over images, from (N,) values: Student's t test of the differences, and an interval of
    their mean, where there are enough."""
    difference, ends, p = b - a, (np.nan, np.nan), np.nan
    if enough(metric, difference):
        # Of differences that are all alike a t test can say nothing.
        p = float(scipy.stats.ttest_1samp(difference, 0).pvalue) if np.ptp(difference) else 0.0
        ends = bootstrap.interval(difference, seed)
    return _row(metric, a.mean(), b.mean(), ends, p)


def _log_loss(answers: Answers) -> np.ndarray:
    """(N,) nats; of a probability that is too small for a float64, that of the smallest one."""
    p = answers.probabilities[np.arange(len(answers.labels)), answers.labels]
    return -np.log(np.maximum(p, np.finfo(float).tiny))


def _brier(answers: Answers) -> np.ndarray:
    """(N,) 0..2."""
    return ((answers.probabilities - np.eye(answers.probabilities.shape[1])[answers.labels]) ** 2).sum(axis=1)


BY_IMAGE: dict[str, Callable[[Answers], np.ndarray]] = {"log_loss": _log_loss, "brier": _brier}


def _ece(answers: Answers, bins: int) -> float:
    return calibration.expected_calibration_error(calibration.reliability(answers.probabilities, answers.labels, bins))


def _toward_winner(row: pd.Series) -> tuple[float, float]:
    """Ends of the interval of the size of a difference."""
    low, high = sorted(np.sign(row["difference"]) * row[["low", "high"]].to_numpy(float))
    return low, high


def _by(row: pd.Series) -> str:
    """The size of a difference with its interval, where there is one, in words."""
    low, high = _toward_winner(row)
    return f"{abs(row['difference']):.4f}" + ("" if np.isnan(low) else f", 95 % interval [{low:.4f}, {high:.4f}]")
