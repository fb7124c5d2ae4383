"""Accuracy where classes differ in size: compared with the rule that always predicts the largest class, and averaged
over classes. Imports no torch: the report needs none."""

from typing import Any

import numpy as np
import scipy

from glassbox.core.text import counted
from glassbox.statistics.outcomes import BETTER, UNDECIDED, WORSE
from glassbox.statistics.paired import mcnemar

FEWEST = 8  # test images of a class for an interval of the balanced accuracy; with fewer its coverage is below 92 %


def measure(labels: np.ndarray, predicted: np.ndarray, classes: tuple[str, ...], confidence: float) -> dict[str, Any]:
    """Balanced accuracy, and McNemar's test of the accuracy against the rule that always predicts the largest class,
    from labels and predictions (N,). `confidence`, 0..1, is the level of interval and test.

    Returns:
        `balanced_accuracy` with its `_low` and `_high`, None if a class has fewer than `FEWEST` test images;
        `smallest_class`, `smallest_class_images` of the class with fewest test images of those that have any;
        `majority_class`, `majority_share` (0..1), `majority_p`, `only_model` and `only_majority` (images that only the
        model, and only the rule, recognises), and `against_majority`: "better", "worse" or "undecided".
    """
    of_class = np.bincount(labels, minlength=len(classes))
    right_of = np.bincount(labels[predicted == labels], minlength=len(classes))
    present = np.flatnonzero(of_class)
    largest, smallest = int(of_class.argmax()), int(present[of_class[present].argmin()])
    only_model = int(right_of.sum() - right_of[largest])
    only_majority = int(of_class[largest] - right_of[largest])
    p = mcnemar(only_model, only_majority)
    outcome = UNDECIDED if p >= 1 - confidence else BETTER if only_model > only_majority else WORSE
    low, high = (None, None)
    if of_class[smallest] >= FEWEST:
        low, high = map(float, balanced_interval(right_of[present], of_class[present], confidence))
    return {
        "balanced_accuracy": float((right_of[present] / of_class[present]).mean()),
        "balanced_accuracy_low": low,
        "balanced_accuracy_high": high,
        "smallest_class": classes[smallest],
        "smallest_class_images": int(of_class[smallest]),
        "majority_class": classes[largest],
        "majority_share": float(of_class[largest] / len(labels)),
        "majority_p": p,
        "only_model": only_model,
        "only_majority": only_majority,
        "against_majority": outcome,
    }


def balanced_interval(right: np.ndarray, n: np.ndarray, confidence: float) -> tuple[np.ndarray, np.ndarray]:
    """Interval of the mean of K recalls, one a class (Price & Bonett 2004, for linear functions of proportions).

    Two right and two wrong answers are added, spread evenly over the classes: with p_k = (x_k + 2/K) / (n_k + 4/K) it
    is mean(p_k) -+ z sqrt(sum p_k (1 - p_k) / (n_k + 4/K)) / K, cut to 0..1. For one class it is Agresti & Coull's.

    `right` (..., K) of `n` (K,) images of each class are recognised.

    >>> [round(end, 4) for end in balanced_interval(np.array([90, 5]), np.array([100, 10]), 0.95)]
    [np.float64(0.5515), np.float64(0.8407)]
    """
    k = len(n)
    total = n + 4 / k
    p = (right + 2 / k) / total
    half = scipy.stats.norm.ppf((1 + confidence) / 2) * np.sqrt((p * (1 - p) / total).sum(axis=-1)) / k
    return np.maximum(0, p.mean(axis=-1) - half), np.minimum(1, p.mean(axis=-1) + half)


def numbers(metrics: dict[str, Any]) -> dict[str, float]:
    """The metrics that are numbers, for MLflow."""
    return {name: value for name, value in metrics.items() if isinstance(value, int | float)}


def sentence(m: dict[str, Any]) -> str:
    """Whether the model is better than always predicting the largest class, from the result of `measure`."""
    rule = f"always answering {m['majority_class']}, {100 * m['majority_share']:.1f} % of the test images"
    test = (
        f"McNemar's exact test, p = {m['majority_p']:.2g}: {counted(m['only_model'])} only the model recognises, "
        f"{m['only_majority']} only that rule"
    )
    if m["against_majority"] == UNDECIDED:
        return f"It is not shown to do better than {rule} ({test})."
    return f"It does {m['against_majority']} than {rule} ({test})."


def balanced(m: dict[str, Any]) -> str:
    """Balanced accuracy in percent with its interval, or the reason why it has none."""
    return f"{100 * m['balanced_accuracy']:.2f} % ({ends(m)})"


def ends(m: dict[str, Any]) -> str:
    """The interval of balanced accuracy in words, or the reason why there is none."""
    if m["balanced_accuracy_low"] is None:
        n = m["smallest_class_images"]
        return f"no interval: {m['smallest_class']} has {counted(n)}, and it takes {FEWEST} of each class"
    return f"interval {100 * m['balanced_accuracy_low']:.2f} to {100 * m['balanced_accuracy_high']:.2f} %"
