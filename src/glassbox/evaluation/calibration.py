"""Does 80 % confidence mean 80 % right? Proper scores, calibration error, temperature scaling."""

import numpy as np
import pandas as pd
import scipy


def log_probabilities(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """(N, K) logarithms of the softmax of logits / temperature, in float64."""
    return scipy.special.log_softmax(logits.astype(np.float64) / temperature, axis=1)


def log_loss(log_p: np.ndarray, labels: np.ndarray) -> float:
    """Mean negative log-likelihood of the true class, nats."""
    return float(-log_p[np.arange(len(labels)), labels].mean())


def brier(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Brier score of several classes (Brier 1950): mean of sum_k (p_k - y_k)^2, from 0 to 2, lower is better."""
    truth = np.eye(probabilities.shape[1])[labels]
    return float(((probabilities - truth) ** 2).sum(axis=1).mean())


def reliability(probabilities: np.ndarray, labels: np.ndarray, bins: int) -> pd.DataFrame:
    """Equal-width bins of the confidence in the predicted class: low, high, count, mean confidence, accuracy.

    A bin is open below and closed above, as in Guo et al. 2017. Empty bins have NaN means.
    """
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    edges = np.linspace(0, 1, bins + 1)
    which = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    count = np.bincount(which, minlength=bins)
    with np.errstate(invalid="ignore"):
        mean = np.bincount(which, weights=confidence, minlength=bins) / count
        accuracy = np.bincount(which, weights=right, minlength=bins) / count
    return pd.DataFrame(
        {"low": edges[:-1], "high": edges[1:], "count": count, "confidence": mean, "accuracy": accuracy}
    )


def expected_calibration_error(table: pd.DataFrame) -> float:
    """ECE (Naeini et al. 2015; Guo et al. 2017): mean over images of |accuracy - confidence| of their bin, 0..1."""
    filled = table[table["count"] > 0]
    gaps = (filled["accuracy"] - filled["confidence"]).abs()
    return float((gaps * filled["count"]).sum() / filled["count"].sum())


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature that minimises the log loss (Guo et al. 2017), between 0.05 and 20.

    Fit it on validation images, never on those it is judged by.
    """
    result = scipy.optimize.minimize_scalar(
        lambda log_t: log_loss(log_probabilities(logits, float(np.exp(log_t))), labels),
        bounds=(np.log(0.05), np.log(20)),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return float(np.exp(result.x))
