"""Right and wrong: accuracy with its interval, per-class scores, confusions. Counting is scikit-learn's."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy

from glassbox.core.text import counted

SCORES = ("precision", "recall", "f1")  # of a class
FEWEST = 10  # test images of each class that the interval of the macro F1 takes: with fewer it covers too seldom


def accuracy_interval(correct: int, n: int, confidence: float) -> tuple[float, float, float]:
    """Accuracy and its Wilson score interval (Wilson 1927; recommended by Brown, Cai & DasGupta 2001).

    >>> [round(value, 4) for value in accuracy_interval(8, 10, 0.95)]
    [0.8, 0.4902, 0.9433]
    """
    interval = scipy.stats.binomtest(correct, n).proportion_ci(confidence, method="wilson")
    return correct / n, float(interval.low), float(interval.high)


def macro_f1_interval(matrix: np.ndarray, confidence: float) -> tuple[float, float]:
    """Interval of the macro F1, by the delta method on a confusion matrix with two right and two wrong answers more,
    spread evenly over the cells on and off its diagonal: a test without a mistake does not show that none is made. For
    shares that is Agresti & Coull's (1998), and for mean recalls Price & Bonett's (2004).

    The variance is that of the images' influences, the derivatives of the macro F1 by the share of their cell. With
    `FEWEST` images of each class it covers the macro F1 of the population in 93 to 100 of 100 test sets, on average in
    97 (`coverage_of_macro_f1` in benchmarks/claims.py). It holds the macro F1 of the matrix, and is cut to 0..1.

    Args:
        matrix: (K, K) of `confusion`.
        confidence: of the interval, 0..1.
    """
    k, same = len(matrix), np.eye(len(matrix), dtype=bool)
    more = matrix + np.where(same, 2 / k, 2 / (k * (k - 1)))
    share = more / more.sum()
    either = share.sum(axis=0) + share.sum(axis=1)  # of a class, or predicted as it
    f1 = 2 * np.diag(share) / either
    loss = f1 / either
    influence = (np.diag(2 / either) - loss[:, None] - loss) / k  # (K, K); its mean over images is 0
    half = scipy.stats.norm.ppf((1 + confidence) / 2) * np.sqrt((share * influence**2).sum() / more.sum())
    return float(max(0, f1.mean() - half)), float(min(1, f1.mean() + half))


def no_macro_f1_interval(matrix: np.ndarray, classes: tuple[str, ...]) -> str | None:
    """Why a test set is too small for the interval of the macro F1, or None where it is not.

    Args:
        matrix: (K, K) of `confusion`.
        classes: names.
    """
    sizes = matrix.sum(axis=1)
    least = int(sizes.min())
    if least >= FEWEST:
        return None
    return f"{classes[sizes.argmin()]} has only {counted(least, 'test image')}, and it takes {FEWEST} of each class"


def confusion(labels: np.ndarray, predicted: np.ndarray, n_classes: int) -> np.ndarray:
    """(K, K) counts: a row for each true class, a column for each predicted one."""
    from sklearn.metrics import confusion_matrix  # takes a second, and this is wanted late

    return confusion_matrix(labels, predicted, labels=np.arange(n_classes))


def classification_report(
    labels: np.ndarray, predicted: np.ndarray, classes: tuple[str, ...], confidence: float
) -> pd.DataFrame:
    """Precision, recall and F1 (0 where nothing was predicted) of each class, each with its interval, and support;
    then their macro average, without intervals.

    Intervals are Wilson's: of the share of the images predicted as the class that are of it (precision), and of those
    of it that are predicted as it (recall). F1 = 2J / (1 + J), where J is the share of the images of the class or
    predicted as it that are both; it grows with J, so its ends are those of J's interval.

    Args:
        labels, predicted: (N,) classes.
        classes: names.
        confidence: of the intervals, 0..1.
    """
    from sklearn.metrics import precision_recall_fscore_support

    columns = precision_recall_fscore_support(labels, predicted, labels=np.arange(len(classes)), zero_division=0.0)
    table = pd.DataFrame(dict(zip((*SCORES, "support"), columns, strict=True)))
    table.insert(0, "class", classes)
    macro = table[list(SCORES)].mean().to_dict() | {"class": "macro average", "support": len(labels)}
    matrix = confusion(labels, predicted, len(classes))
    right, predicted_as, of_class = np.diag(matrix), matrix.sum(axis=0), matrix.sum(axis=1)
    for score, whole in zip(SCORES, (predicted_as, of_class, predicted_as + of_class - right), strict=True):
        ends = np.array([_interval(*counts, confidence) for counts in zip(right, whole, strict=True)])
        ends = 2 * ends / (1 + ends) if score == "f1" else ends
        table[f"{score}_low"], table[f"{score}_high"] = ends.T
    return pd.concat([table, pd.DataFrame([macro])], ignore_index=True)


def _interval(part: int, whole: int, confidence: float) -> tuple[float, float]:
    """Of a share of a whole; a share of nothing might be anything."""
    return accuracy_interval(int(part), int(whole), confidence)[1:] if whole else (0.0, 1.0)


@dataclass(frozen=True)
class ConfusedPair:
    """Two classes taken for each other: `ab` images of class a predicted as b, and `ba` the other way."""

    a: int
    b: int
    ab: int
    ba: int

    @property
    def total(self) -> int:
        return self.ab + self.ba


def confused_pairs(matrix: np.ndarray, probabilities: np.ndarray, labels: np.ndarray) -> list[ConfusedPair]:
    """All pairs of classes, most confused first.

    Pairs with the same number of confusions, such as none at all, are ordered by the probability that images of one
    class give to the other: near misses.

    Args:
        matrix: (K, K) confusion matrix.
        probabilities: (N, K).
        labels: (N,).
    """
    k = len(matrix)
    mass = np.stack([probabilities[labels == label].sum(axis=0) for label in range(k)])  # (K, K)
    pairs = [ConfusedPair(a, b, int(matrix[a, b]), int(matrix[b, a])) for a in range(k) for b in range(a + 1, k)]
    return sorted(pairs, key=lambda p: (-p.total, -(mass[p.a, p.b] + mass[p.b, p.a]), p.a, p.b))
