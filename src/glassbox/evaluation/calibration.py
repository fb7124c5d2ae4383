"""Calibration: proper scores, calibration error, temperature scaling.

A study has one probability: the softmax of the logits divided by the study's temperature. That is 1, and probabilities
are "as trained", unless temperature scaling lowers the log loss of the validation images by more than chance does; see
`scale`.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
import scipy

LOWEST, HIGHEST = 0.05, 20.0  # temperatures that are tried
LEVEL = 0.05  # of the test
DRAWS = 999  # of labels, for the test
TRIED = 121  # temperatures at which each of these draws is fitted


def log_probabilities(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """(N, K) logarithms of the softmax of logits / temperature, in float64."""
    return scipy.special.log_softmax(logits.astype(np.float64) / temperature, axis=1)


def log_loss(log_p: np.ndarray, labels: np.ndarray) -> float:
    """Mean negative log-likelihood of the true class, nats."""
    return float(-log_p[np.arange(len(labels)), labels].mean())


def brier(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Brier score of several classes (Brier 1950): mean of sum_k (p_k - y_k)^2, from 0 to 2, lower is better."""
    return float(brier_by_image(probabilities, labels).mean())


def brier_by_image(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(N,) sum_k (p_k - y_k)^2 of each image."""
    return ((probabilities - np.eye(probabilities.shape[1])[labels]) ** 2).sum(axis=1)


def reliability(probabilities: np.ndarray, labels: np.ndarray, bins: int) -> pd.DataFrame:
    """Equal-width bins of the confidence in the predicted class: low, high, count, mean confidence, accuracy.

    A bin is open below and closed above, as in Guo et al. 2017. Empty bins have NaN means.
    """
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    edges, which = np.linspace(0, 1, bins + 1), _bins(confidence, bins)
    count = np.bincount(which, minlength=bins)
    with np.errstate(invalid="ignore"):
        mean = np.bincount(which, weights=confidence, minlength=bins) / count
        accuracy = np.bincount(which, weights=right, minlength=bins) / count
    return pd.DataFrame(
        {"low": edges[:-1], "high": edges[1:], "count": count, "confidence": mean, "accuracy": accuracy}
    )


def _bins(confidence: np.ndarray, bins: int) -> np.ndarray:
    """(N,) number of the bin of each image."""
    return np.clip(np.searchsorted(np.linspace(0, 1, bins + 1), confidence, side="left") - 1, 0, bins - 1)


def expected_calibration_error(table: pd.DataFrame) -> float:
    """ECE (Naeini et al. 2015; Guo et al. 2017) of a table of `reliability`: mean over images of |accuracy -
    confidence| of their bin, 0..1."""
    filled = table[table["count"] > 0]
    gaps = (filled["accuracy"] - filled["confidence"]).abs()
    return float((gaps * filled["count"]).sum() / filled["count"].sum())


def ece_by_chance(probabilities: np.ndarray, bins: int, seed: int) -> float:
    """The ECE that a calibrated classifier with these (N, K) probabilities stays below in 95 % of test sets of N images
    (consistency resampling, Bröcker & Smith 2007, for the ECE). It is above 0, the more so the smaller N is."""
    rng, confidence = np.random.default_rng(seed), probabilities.max(axis=1)
    which, n = _bins(confidence, bins), len(confidence)
    drawn = []
    for _ in range(DRAWS):
        right = rng.random(n) < confidence
        drawn.append(np.abs(np.bincount(which, weights=right - confidence)).sum() / n)
    return float(np.quantile(drawn, 1 - LEVEL))


@dataclass(frozen=True)
class Scaling:
    """Temperature scaling of a classifier (Guo et al. 2017, On Calibration of Modern Neural Networks, section 4.2), and
    whether the study uses it."""

    temperature: float  # divisor of the study's logits: the fitted one if scaling is used, else 1
    scaling_used: bool
    fitted_temperature: float  # the one with the lowest log loss on the validation images, from 0.05 to 20
    at_bound: bool  # whether that is 0.05 or 20, so that the true minimum may lie beyond
    gain: float  # nats an image by which it lowers the log loss of the validation images
    scaling_p: float  # p-value of the test in `scale`
    validation_images: int
    reason: str  # the decision and its numbers, in words

    def as_dict(self) -> dict[str, Any]:
        """The content of calibration.json."""
        return asdict(self)


def scale(logits: np.ndarray, labels: np.ndarray, seed: int) -> Scaling:
    """Fit the temperature to validation images, and use it if it lowers their log loss by more than chance does.

    A fitted temperature always lowers the log loss of the images that it was fitted to. The gain by chance is found
    from labels drawn from the probabilities as trained, for which no temperature is better than 1. p is the share of
    the draws whose own fitted temperature gains as much or more (a Monte Carlo likelihood-ratio test, Davison & Hinkley
    1997, section 4.2), so that scaling is used for at most 5 % of classifiers that are calibrated as trained. A t test
    of the images' log losses with cross-validated temperatures has less power: with 60 images of which 65 % are
    recognised it finds a temperature of 1.25 in 2 % of simulations, this test in 43 %.

    Scaling is not used either if the log loss falls down to the lowest temperature that is tried, as it does when every
    validation image is recognised. Such a temperature would come from the limit instead of the images, and give each
    mistake on other images a probability of almost 1.

    Args:
        logits, labels: (N, K) and (N,), of the validation images.
        seed: the draws' seed.
    """
    fitted = fit_temperature(logits, labels)
    losses = [log_loss(log_probabilities(logits, t), labels) for t in (1.0, fitted)]
    gain, p = max(0.0, losses[0] - losses[1]), chance_of_gain(logits, labels, seed)
    used = p < LEVEL and fitted != LOWEST
    at_bound = fitted in (LOWEST, HIGHEST)
    reason = f"Temperature scaling is {'used' if used else 'not used'}: "
    if fitted == LOWEST and p < LEVEL:
        mistakes = int((logits.argmax(axis=1) != labels).sum())
        reason += (
            f"the log loss of the {len(labels)} validation images (mistakes: {mistakes}) falls until the lowest "
            f"temperature that is tried, {LOWEST:g}, so that these images do not determine one."
        )
    else:
        reason += (
            f"on {len(labels)} validation images the fitted temperature, {fitted:.3g}, lowers the log loss by "
            f"{gain:.3g} nats, {'more' if used else 'not more'} than chance does (p = {p:.2g})."
        )
        if at_bound:
            reason += f" It is a limit of the range that is tried, {LOWEST:g} to {HIGHEST:g}."
    return Scaling(fitted if used else 1.0, used, fitted, at_bound, gain, p, len(labels), reason)


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature that minimises the log loss (Guo et al. 2017); 0.05 or 20 if the minimum lies beyond.

    >>> fit_temperature(np.array([[2.0, 0.0], [2.0, 0.0], [2.0, 0.0], [2.0, 0.0]]), np.array([0, 0, 0, 1])).__round__(4)
    1.8205
    """
    z = logits.astype(np.float64)
    of_truth = z[np.arange(len(labels)), labels].mean()

    def slope(inverse: float) -> float:  # of the log loss, which is convex in the inverse of the temperature
        return float((scipy.special.softmax(inverse * z, axis=1) * z).sum(axis=1).mean() - of_truth)

    if slope(1 / HIGHEST) >= 0:
        return HIGHEST
    if slope(1 / LOWEST) <= 0:
        return LOWEST
    return float(1 / scipy.optimize.brentq(slope, 1 / HIGHEST, 1 / LOWEST, xtol=1e-9))


def chance_of_gain(logits: np.ndarray, labels: np.ndarray, seed: int) -> float:
    """Probability that a fitted temperature lowers the log loss by as much as for these (N,) labels, or more, if the
    probabilities as trained are right; see `scale`."""
    z, rows = logits.astype(np.float64), np.arange(len(labels))
    inverses = 1 / np.geomspace(LOWEST, HIGHEST, TRIED)  # 1 is one of them
    normalizers = np.array([scipy.special.logsumexp(inverse * z, axis=1).mean() for inverse in inverses])
    as_trained = scipy.special.logsumexp(z, axis=1).mean()

    def gains(of_truth: np.ndarray) -> np.ndarray:  # (R,) mean logits of the true class -> (R,) nats an image
        return as_trained - of_truth - (normalizers[:, None] - inverses[:, None] * of_truth).min(axis=0)

    rng, cumulative = np.random.default_rng(seed), np.exp(log_probabilities(z)).cumsum(axis=1)
    drawn = np.zeros(DRAWS)
    for row in rows:
        drawn += z[row, np.searchsorted(cumulative[row, :-1], rng.random(DRAWS), side="right")]
    observed = gains(z[rows, labels].mean(keepdims=True))
    as_large = (gains(drawn / len(rows)) >= observed - 1e-12).sum()  # rounding of sums in another order
    return float((1 + as_large) / (1 + DRAWS))
