"""Tests and intervals of the difference of two classifiers' scores on the same images."""

from itertools import count

import numpy as np
import scipy

from glassbox.statistics.bootstrap import INTERVAL

LEVEL = 0.05  # of a test, or of all tests of a family together
POWER = 0.8  # share of samples in which a test finds the difference that is given as large enough to be found
SWAPS = 9999  # random exchanges of the two classifiers' answers


def mcnemar(only_a: int, only_b: int) -> float:
    """P-value of the hypothesis that both classifiers are right equally often (McNemar 1947, exact): of the images that
    only one of them recognises, each does half.

    >>> mcnemar(1, 7)
    0.0703125
    """
    n = only_a + only_b
    return float(scipy.stats.binomtest(only_a, n).pvalue) if n else 1.0


def fewest_discordant() -> int:
    """Images that only one of two recognises, at least, for McNemar's exact test to reject at 5 %.

    >>> mcnemar(0, 5), mcnemar(0, 6), fewest_discordant()
    (0.0625, 0.03125, 6)
    """
    return next(n for n in count(1) if mcnemar(0, n) < LEVEL)


def smallest_difference(discordant: int, images: int) -> float:
    """The smallest true difference in accuracy, 0..1, that McNemar's exact test finds at 5 % with a power of 80 %,
    given how many images only one of the two recognises.

    It is (2 t - 1) times their share of all images, where t is the smallest probability that such an image is on the
    better one's side for which the binomial count rejects so often. A correction for several metrics makes it larger.

    Args:
        discordant: at least `fewest_discordant()`.
        images: N.
    """
    n = discordant
    least = next(k for k in range(n // 2, n + 1) if mcnemar(n - k, k) < LEVEL)  # of n, to reject

    def power(share: float) -> float:
        tails = scipy.stats.binom.sf(least - 1, n, share) + scipy.stats.binom.cdf(n - least, n, share)
        return float(tails) - POWER

    return (2 * scipy.optimize.brentq(power, 0.5, 1) - 1) * n / images


def accuracy_interval(only_a: int, only_b: int, images: int) -> tuple[float, float]:
    """95 % interval of the difference of two accuracies on the same images, b - a (Bonett & Price 2012, adjusted Wald):
    one image more that only A recognises, and one that only B does. It covers where hardly any image tells the two
    apart, and nearly never excludes 0 where McNemar's exact test does not reject.

    >>> [round(end, 4) for end in accuracy_interval(0, 0, 98)]  # 1.96 * sqrt(0.02 / 100)
    [-0.0277, 0.0277]
    """
    n = images + 2
    p, q = (only_a + 1) / n, (only_b + 1) / n
    return _normal_ends(q - p, p + q - (q - p) ** 2, n)


def share_interval(differences: np.ndarray) -> tuple[float, float]:
    """95 % interval of the mean of (N,) differences of two shares of 0..1 on the same images, in the way of
    `accuracy_interval`, which it is where both are 0 or 1: one image more whose difference is 1, and one of -1. It
    covers the true mean in 93 of 100 samples or more from 3 images on, and has a width where all differences are alike.

    >>> share_interval(np.array([0, 1, 1, 0, -1])) == accuracy_interval(1, 2, 5)
    True
    """
    n = len(differences) + 2
    mean = differences.sum() / n
    return _normal_ends(mean, ((differences**2).sum() + 2) / n - mean**2, n)


def macro_f1_interval(labels: np.ndarray, a: np.ndarray, b: np.ndarray, n_classes: int) -> tuple[float, float]:
    """95 % interval of the difference of two macro F1 on the same images, b - a, by the delta method: the variance is
    that of the images' influences on the difference, with two images more, as in `accuracy_interval`, whose influences
    are 1 and -1, as they are on the accuracy.

    Args:
        labels, a, b: (N,) true classes, and predicted ones.
        n_classes: K.
    """
    (before, influence_a), (after, influence_b) = (_macro_f1(labels, one, n_classes) for one in (a, b))
    n = len(labels)
    variance = (((influence_b - influence_a) ** 2).sum() + 2) / (n + 2)
    return _normal_ends((after - before) * n / (n + 2), variance, n + 2)


def macro_f1(labels: np.ndarray, predicted: np.ndarray, n_classes: int) -> float:
    """Mean over K classes of F1; 0 for a class that neither the (N,) labels nor the (N,) predicted classes name."""
    return _macro_f1(labels, predicted, n_classes)[0]


def exchange_test(labels: np.ndarray, a: np.ndarray, b: np.ndarray, n_classes: int, seed: int) -> float:
    """P-value of the hypothesis that two classifiers' predictions for an image could as well be exchanged, by the
    difference of their macro F1 (approximate randomization, Noreen 1989, Yeh 2000; for accuracy the same test is
    McNemar's). All exchanges are made where they are fewer than 10,000, otherwise 9,999 random ones.

    Args:
        labels, a, b: (N,) true classes, and predicted ones.
        n_classes: K.
        seed: of the exchanges.
    """
    rows = np.flatnonzero(a != b)
    if not len(rows):
        return 1.0
    classes, d = np.arange(n_classes), len(rows)
    named = [(one[:, None] == classes).astype(float) for one in (a, b)]  # (N, K) each: predicted as the class
    hits = [of_side * (labels[:, None] == classes) for of_side in named]  # and of it
    sizes = np.bincount(labels, minlength=n_classes)

    def score(side: int, exchanged: np.ndarray) -> np.ndarray:
        """(R,) macro F1 of A, or B, after the exchange of (R, D) predictions."""
        counts = [
            of_both[side].sum(axis=0) + exchanged @ (of_both[1 - side] - of_both[side])[rows]
            for of_both in (hits, named)
        ]
        return _f1(counts[0], sizes + counts[1]).mean(axis=1)

    def differences(exchanged: np.ndarray) -> np.ndarray:
        return np.abs(score(1, exchanged) - score(0, exchanged))

    observed = differences(np.zeros((1, d)))[0] - 1e-12  # other sums round otherwise
    if 2**d <= SWAPS:
        every = np.arange(2**d)[:, None] >> np.arange(d) & 1
        return float((differences(every) >= observed).mean())
    rng = np.random.default_rng(seed)
    blocks = (rng.integers(0, 2, (len(part), d)) for part in np.array_split(np.arange(SWAPS), 20))
    return float((1 + sum((differences(block) >= observed).sum() for block in blocks)) / (SWAPS + 1))


def _f1(hits: np.ndarray, either: np.ndarray) -> np.ndarray:
    """F1 of each class, (..., K), from `hits`, its images that are predicted as it, and `either`, its images plus those
    predicted as it."""
    return np.divide(2 * hits, either, out=np.zeros(np.shape(either)), where=either > 0)


def _macro_f1(labels: np.ndarray, predicted: np.ndarray, n_classes: int) -> tuple[float, np.ndarray]:
    """The score, and (N,) the influence of each image on it: N times the derivative by its share of all images."""
    right = labels == predicted
    either = (np.bincount(labels, minlength=n_classes) + np.bincount(predicted, minlength=n_classes)).astype(float)
    f1 = _f1(np.bincount(labels[right], minlength=n_classes), either)
    weight = len(labels) / np.maximum(either, 1) / n_classes  # a class that is named nowhere has no image
    influence = weight[labels] * (right - f1[labels]) + weight[predicted] * (right - f1[predicted])
    return float(f1.mean()), influence


def _normal_ends(mean: float, variance: float, n: int) -> tuple[float, float]:
    """95 % interval of a difference of two scores of 0..1."""
    half = scipy.stats.norm.ppf((1 + INTERVAL) / 2) * np.sqrt(variance / n)
    return float(max(mean - half, -1)), float(min(mean + half, 1))
