"""Two classifiers judged on the same test images: is one better by more than chance, and where do they differ?"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import f1_score

from glassbox.bootstrap import INTERVAL, interval
from glassbox.chance import mcnemar
from glassbox.evaluation import calibration
from glassbox.evaluation.classification import confusion, resampled_macro_f1
from glassbox.xai_metrics.stability import overlap_by_chance, rank_agreement, top_overlap

LEVEL = 0.05  # of the test
TOP = 0.1  # share of the pixels that the overlap of two maps looks at


@dataclass(frozen=True)
class Answers:
    """What a classifier says of the test images.

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
        metrics: a row each: `metric`, `a`, `b`, `difference` (b - a), its bootstrap interval `low`, `high` over test
            images, and which is `better`, "a", "b" or "" where the interval holds 0.
        only_a, only_b: rows of images that A alone, and B alone, recognises; those of which the other one is surest of
            its mistake come first.
        p: of McNemar's test.
        matrix: (K, K) confusion matrix of B less that of A.
    """

    metrics: pd.DataFrame
    only_a: np.ndarray
    only_b: np.ndarray
    p: float
    matrix: np.ndarray


def versus(a: Answers, b: Answers, bins: int, seed: int) -> Versus:
    """Compare two classifiers on the same images.

    Args:
        a, b: of the same images in the same order.
        bins: of the calibration error.
        seed: of the bootstrap.
    """
    assert np.array_equal(a.labels, b.labels)
    n_classes = a.probabilities.shape[1]
    by_image = {  # (N,) each: what is a mean over images
        "accuracy": (a.right, b.right),
        "log_loss": tuple(-np.log(np.maximum(_of_truth(one), np.finfo(float).tiny)) for one in (a, b)),
        "brier": tuple(((one.probabilities - np.eye(n_classes)[one.labels]) ** 2).sum(axis=1) for one in (a, b)),
    }
    rows: list[dict[str, Any]] = []
    for metric, (before, after) in by_image.items():
        low, high = interval(after.astype(float) - before, seed)
        rows.append({"metric": metric, "a": before.mean(), "b": after.mean(), "low": low, "high": high})
    rows.insert(1, {"metric": "macro_f1"} | _macro_f1(a, b, n_classes, seed))
    errors = [
        calibration.expected_calibration_error(calibration.reliability(one.probabilities, one.labels, bins))
        for one in (a, b)
    ]
    rows.append({"metric": "ece", "a": errors[0], "b": errors[1], "low": np.nan, "high": np.nan})
    table = pd.DataFrame(rows)
    table["difference"] = table["b"] - table["a"]
    up = table["metric"].isin(("accuracy", "macro_f1"))
    table["better"] = np.select([table["low"] > 0, table["high"] < 0], [up.map({True: "b", False: "a"}),
                                up.map({True: "a", False: "b"})], "")  # fmt: skip
    only_a, only_b = (np.flatnonzero(one.right & ~other.right) for one, other in ((a, b), (b, a)))
    return Versus(
        table[["metric", "a", "b", "difference", "low", "high", "better"]],
        only_a[np.argsort(-b.probabilities[only_a].max(axis=1), kind="stable")],
        only_b[np.argsort(-a.probabilities[only_b].max(axis=1), kind="stable")],
        mcnemar(len(only_a), len(only_b)),
        confusion(b.labels, b.predicted, n_classes) - confusion(a.labels, a.predicted, n_classes),
    )


def verdict(found: Versus, a: str, b: str) -> str:
    """Which is better, and whether by more than chance, in a sentence.

    Args:
        found: of `versus`.
        a, b: names of the two.
    """
    row = found.metrics.set_index("metric").loc["accuracy"]
    points, ends = 100 * row["difference"], sorted((100 * row["low"], 100 * row["high"]))
    if found.p < LEVEL and points < 0:  # told of the better one
        ends = sorted(-end for end in ends)
    if not len(found.only_a) and not len(found.only_b):
        return f"{a} and {b} recognise the same test images."
    told = (
        f"{ends[0]:+.2f} to {ends[1]:+.2f}, 95 % interval; McNemar's test p = {found.p:.2g}: "
        f"{len(found.only_a)} image{'' if len(found.only_a) == 1 else 's'} only {a} recognises, "
        f"{len(found.only_b)} only {b}"
    )
    if found.p >= LEVEL:
        return f"{a} and {b} do not differ by more than chance: {points:+.2f} percentage points for {b} ({told})."
    better, worse = (b, a) if points > 0 else (a, b)
    return f"{better} is better than {worse}, by {abs(points):.2f} percentage points of test accuracy ({told})."


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


def _of_truth(answers: Answers) -> np.ndarray:
    return answers.probabilities[np.arange(len(answers.labels)), answers.labels]


def _macro_f1(a: Answers, b: Answers, n_classes: int, seed: int) -> dict[str, float]:
    """Both scores, and the interval of their difference."""
    predictions = a.predicted, b.predicted
    scores = [f1_score(a.labels, one, labels=range(n_classes), average="macro", zero_division=0) for one in predictions]
    draws = np.array(list(resampled_macro_f1(a.labels, predictions, n_classes, seed)))  # (R, 2)
    low, high = np.quantile(draws[:, 1] - draws[:, 0], [(1 - INTERVAL) / 2, (1 + INTERVAL) / 2])
    return {"a": scores[0], "b": scores[1], "low": low, "high": high}
