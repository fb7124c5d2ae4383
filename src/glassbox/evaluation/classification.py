"""Accuracy with its interval, scores of each class, confusions. Counting is scikit-learn's."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy

from glassbox.core.text import counted

SCORES = ("precision", "recall", "f1")  # of a class
FEWEST = 10  # test images of each class for an interval of the macro F1; with fewer it covers too seldom


def accuracy_interval(correct: int, n: int, confidence: float) -> tuple[float, float, float]:
    """Accuracy and its Wilson score interval (Wilson 1927; recommended by Brown, Cai & DasGupta 2001).

    >>> [round(value, 4) for value in accuracy_interval(8, 10, 0.95)]
    [0.8, 0.4902, 0.9433]
    """
    interval = scipy.stats.binomtest(correct, n).proportion_ci(confidence, method="wilson")
    return correct / n, float(interval.low), float(interval.high)


def macro_f1_interval(matrix: np.ndarray, confidence: float) -> tuple[float, float]:
    """Interval of the macro F1, by the delta method on a confusion matrix with two right and two wrong answers more,
    spread evenly over the cells on and off its diagonal, as in the intervals of shares by Agresti & Coull (1998) and of
    mean recalls by Price & Bonett (2004). So it has a width even without a mistake.

    The variance is that of the images' influences, the derivatives of the macro F1 by the share of their cell. With
    `FEWEST` images of each class it covers the macro F1 of the population in 93 to 100 of 100 test sets, on average in
    97 (`coverage_of_macro_f1` in benchmarks/claims.py). It holds the macro F1 of the (K, K) matrix, and is cut to 0..1.
    """
    k, same = len(matrix), np.eye(len(matrix), dtype=bool)
    more = matrix + np.where(same, 2 / k, 2 / (k * (k - 1)))
    share = more / more.sum()
    either = share.sum(axis=0) + share.sum(axis=1)  # of a class, plus predicted as it
    f1 = 2 * np.diag(share) / either
    loss = f1 / either
    influence = (np.diag(2 / either) - loss[:, None] - loss) / k  # (K, K); its mean over images is 0
    half = scipy.stats.norm.ppf((1 + confidence) / 2) * np.sqrt((share * influence**2).sum() / more.sum())
    return float(max(0, f1.mean() - half)), float(min(1, f1.mean() + half))


def no_macro_f1_interval(matrix: np.ndarray, classes: tuple[str, ...]) -> str | None:
    """Why a test set with this (K, K) confusion matrix is too small for the interval of the macro F1, or None."""
    sizes = matrix.sum(axis=1)
    least = int(sizes.min())
    if least >= FEWEST:
        return None
    return f"{classes[sizes.argmin()]} has only {counted(least, 'test image')}, and it takes {FEWEST} of each class"


def confusion(labels: np.ndarray, predicted: np.ndarray, n_classes: int) -> np.ndarray:
    """(K, K) counts: a row for each true class, a column for each predicted one."""
    from sklearn.metrics import confusion_matrix  # importing it takes a second, and it is needed late

    return confusion_matrix(labels, predicted, labels=np.arange(n_classes))


def classification_report(
    labels: np.ndarray,
    predicted: np.ndarray,
    classes: tuple[str, ...],
    confidence: float,
    averaged: int | None = None,
) -> pd.DataFrame:
    """Precision, recall and F1 (0 if nothing was predicted) of each class, each with its interval, and support; then
    their macro average, without intervals: that of the first `averaged` classes, or of all.

    Intervals are Wilson's. F1 = 2J / (1 + J), where J is the share of images that are of the class and predicted as it
    among those that are of it or predicted as it. F1 grows with J, so its ends are those of J's interval. Labels and
    predictions are (N,); `classes` are names.
    """
    from sklearn.metrics import precision_recall_fscore_support

    columns = precision_recall_fscore_support(labels, predicted, labels=np.arange(len(classes)), zero_division=0.0)
    table = pd.DataFrame(dict(zip((*SCORES, "support"), columns, strict=True)))
    table.insert(0, "class", classes)
    macro = table[list(SCORES)][:averaged].mean().to_dict() | {"class": "macro average", "support": len(labels)}
    matrix = confusion(labels, predicted, len(classes))
    right, predicted_as, of_class = np.diag(matrix), matrix.sum(axis=0), matrix.sum(axis=1)
    for score, totals in zip(SCORES, (predicted_as, of_class, predicted_as + of_class - right), strict=True):
        ends = np.array([_interval(*counts, confidence) for counts in zip(right, totals, strict=True)])
        ends = 2 * ends / (1 + ends) if score == "f1" else ends
        table[f"{score}_low"], table[f"{score}_high"] = ends.T
    return pd.concat([table, pd.DataFrame([macro])], ignore_index=True)


def _interval(part: int, total: int, confidence: float) -> tuple[float, float]:
    """Wilson's interval of a share; 0 to 1 if the total is 0."""
    return accuracy_interval(int(part), int(total), confidence)[1:] if total else (0.0, 1.0)


@dataclass(frozen=True)
class ConfusedPair:
    """Two classes: `ab` images of class a predicted as b, and `ba` of b predicted as a."""

    a: int
    b: int
    ab: int
    ba: int

    @property
    def total(self) -> int:
        return self.ab + self.ba


def confused_pairs(matrix: np.ndarray, probabilities: np.ndarray, labels: np.ndarray) -> list[ConfusedPair]:
    """All pairs of classes, most confused first, from the (K, K) confusion matrix. Pairs with equally many confusions
    are ordered by the probability, from (N, K) and labels (N,), that images of one class give to the other."""
    k = len(matrix)
    mass = np.stack([probabilities[labels == label].sum(axis=0) for label in range(k)])  # (K, K)
    pairs = [ConfusedPair(a, b, int(matrix[a, b]), int(matrix[b, a])) for a in range(k) for b in range(a + 1, k)]
    return sorted(pairs, key=lambda p: (-p.total, -(mass[p.a, p.b] + mass[p.b, p.a]), p.a, p.b))
