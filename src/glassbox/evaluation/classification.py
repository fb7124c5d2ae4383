"""Right and wrong: accuracy with its interval, per-class scores, confusions. Counting is scikit-learn's."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy

from glassbox.bootstrap import RESAMPLES

SCORES = ("precision", "recall", "f1")  # of a class


def accuracy_interval(correct: int, n: int, confidence: float) -> tuple[float, float, float]:
    """Accuracy and its Wilson score interval (Wilson 1927; recommended by Brown, Cai & DasGupta 2001).

    >>> [round(value, 4) for value in accuracy_interval(8, 10, 0.95)]
    [0.8, 0.4902, 0.9433]
    """
    interval = scipy.stats.binomtest(correct, n).proportion_ci(confidence, method="wilson")
    return correct / n, float(interval.low), float(interval.high)


def resampled_macro_f1(
    labels: np.ndarray, predictions: tuple[np.ndarray, ...], n_classes: int, seed: int
) -> Iterator[list[float]]:
    """Macro F1 of each of P predictions on test images that are drawn again (Efron 1979), draw after draw. Of an image
    its class and the predictions are all that matters, so that kinds of images are drawn.

    Args:
        labels: (N,) true classes.
        predictions: P times (N,) classes.
        n_classes: K.
        seed: of the draws.
    """
    (of_class, *predicted), counts = np.unique(np.stack([labels, *predictions]), axis=1, return_counts=True)
    rng = np.random.default_rng(seed)
    for _ in range(RESAMPLES):
        drawn = rng.multinomial(len(labels), counts / len(labels))
        yield [_macro_f1(of_class, one, drawn, n_classes) for one in predicted]


def _macro_f1(labels: np.ndarray, predicted: np.ndarray, counts: np.ndarray, n_classes: int) -> float:
    """Of images of M kinds, so many of each; a class without any has an F1 of 0, as in `classification_report`."""
    right = np.bincount(labels, counts * (labels == predicted), n_classes)
    either = np.bincount(labels, counts, n_classes) + np.bincount(predicted, counts, n_classes)
    return float(np.divide(2 * right, either, out=np.zeros(n_classes), where=either > 0).mean())


def macro_f1_interval(
    labels: np.ndarray, predicted: np.ndarray, n_classes: int, confidence: float, seed: int
) -> tuple[float, float]:
    """Percentile bootstrap interval of the macro F1.

    Args:
        labels, predicted: (N,) classes.
        n_classes: K.
        confidence: of the interval, 0..1.
        seed: of the draws.
    """
    scores = [score for (score,) in resampled_macro_f1(labels, (predicted,), n_classes, seed)]
    low, high = np.quantile(scores, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


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
