"""Right and wrong: accuracy with its interval, per-class scores, confusions. Counting is scikit-learn's."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy


def accuracy_interval(correct: int, n: int, confidence: float) -> tuple[float, float, float]:
    """Accuracy and its Wilson score interval (Wilson 1927; recommended by Brown, Cai & DasGupta 2001).

    >>> [round(value, 4) for value in accuracy_interval(8, 10, 0.95)]
    [0.8, 0.4902, 0.9433]
    """
    interval = scipy.stats.binomtest(correct, n).proportion_ci(confidence, method="wilson")
    return correct / n, float(interval.low), float(interval.high)


def confusion(labels: np.ndarray, predicted: np.ndarray, n_classes: int) -> np.ndarray:
    """(K, K) counts: a row for each true class, a column for each predicted one."""
    from sklearn.metrics import confusion_matrix  # takes a second, and this is wanted late

    return confusion_matrix(labels, predicted, labels=np.arange(n_classes))


def classification_report(labels: np.ndarray, predicted: np.ndarray, classes: tuple[str, ...]) -> pd.DataFrame:
    """Precision, recall, F1 (0 where nothing was predicted) and support of each class, then their macro average."""
    from sklearn.metrics import precision_recall_fscore_support

    columns = precision_recall_fscore_support(labels, predicted, labels=np.arange(len(classes)), zero_division=0.0)
    table = pd.DataFrame(dict(zip(("precision", "recall", "f1", "support"), columns, strict=True)))
    table.insert(0, "class", classes)
    macro = table[["precision", "recall", "f1"]].mean().to_dict() | {"class": "macro average", "support": len(labels)}
    return pd.concat([table, pd.DataFrame([macro])], ignore_index=True)[
        ["class", "precision", "recall", "f1", "support"]
    ]


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
