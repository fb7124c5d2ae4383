"""Tests and intervals of the difference of two classifiers' scores on the same images."""

from itertools import count, product

import numpy as np
import scipy

from glassbox.statistics.bootstrap import INTERVAL

LEVEL = 0.05  # of a test, or of all tests of a family together
POWER = 0.8  # share of samples in which a test finds a difference, above which the difference counts as detectable
SWAPS = 9999  # random exchanges of the two classifiers' predictions


def mcnemar(only_a: int, only_b: int) -> float:
    """P-value of McNemar's exact test (1947), from the number of images that only A, and only B, recognises.

    >>> mcnemar(1, 7)
    0.0703125
    """
    n = only_a + only_b
    return float(scipy.stats.binomtest(only_a, n).pvalue) if n else 1.0


def fewest_discordant() -> int:
    """The fewest images that only one of two recognises with which McNemar's exact test can reject at 5 %.

    >>> mcnemar(0, 5), mcnemar(0, 6), fewest_discordant()
    (0.0625, 0.03125, 6)
    """
    return next(n for n in count(1) if mcnemar(0, n) < LEVEL)


def smallest_difference(discordant: int, images: int) -> float:
    """The smallest true difference in accuracy, 0..1, that McNemar's exact test finds at 5 % with a power of 80 %, if
    only one of the two recognises `discordant` of all images, at least `fewest_discordant()`.

    It is (2 t - 1) times the share of discordant images, where t is the smallest probability that the better classifier
    is the one that recognises such an image with which the binomial count rejects so often. A correction for several
    metrics makes it larger.
    """
    n = discordant
    least = next(k for k in range(n // 2, n + 1) if mcnemar(n - k, k) < LEVEL)  # of n, to reject

    def power(share: float) -> float:
        tails = scipy.stats.binom.sf(least - 1, n, share) + scipy.stats.binom.cdf(n - least, n, share)
        return float(tails) - POWER

    return (2 * scipy.optimize.brentq(power, 0.5, 1) - 1) * n / images


def accuracy_interval(only_a: int, only_b: int, images: int) -> tuple[float, float]:
    """95 % interval of the difference of two accuracies on the same images, b - a (Bonett & Price 2012, adjusted Wald):
    one more image is counted that only A recognises, and one that only B does. It covers the difference even with few
    discordant images, and almost never excludes 0 where McNemar's exact test does not reject.

    >>> [round(end, 4) for end in accuracy_interval(0, 0, 98)]  # 1.96 * sqrt(0.02 / 100)
    [-0.0277, 0.0277]
    """
    n = images + 2
    p, q = (only_a + 1) / n, (only_b + 1) / n
    return _normal_ends(q - p, p + q - (q - p) ** 2, n)


def share_interval(differences: np.ndarray) -> tuple[float, float]:
    """95 % interval of the mean of (N,) differences of two shares of 0..1 on the same images: `accuracy_interval` for
    shares between 0 and 1, with one more difference of 1 and one of -1. It covers the true mean in 93 of 100 samples or
    more from 3 images on, and has a width even if all differences are equal.

    >>> share_interval(np.array([0, 1, 1, 0, -1])) == accuracy_interval(1, 2, 5)
    True
    """
    n = len(differences) + 2
    mean = differences.sum() / n
    return _normal_ends(mean, ((differences**2).sum() + 2) / n - mean**2, n)


def macro_f1_interval(labels: np.ndarray, a: np.ndarray, b: np.ndarray, n_classes: int) -> tuple[float, float]:
    """95 % interval of the difference of two macro F1 on the same images, b - a, by the delta method. The variance is
    that of the images' influences on the difference, with two more images of influence 1 and -1, as in
    `accuracy_interval`. Labels and both classifiers' predictions are (N,).
    """
    before, influence_a = _macro_f1(labels, a, n_classes)
    after, influence_b = _macro_f1(labels, b, n_classes)
    n = len(labels)
    variance = (((influence_b - influence_a) ** 2).sum() + 2) / (n + 2)
    return _normal_ends((after - before) * n / (n + 2), variance, n + 2)


def macro_f1(labels: np.ndarray, predicted: np.ndarray, n_classes: int) -> float:
    """Mean F1 of K classes, from (N,) labels and predictions; a class in neither has F1 0."""
    return _macro_f1(labels, predicted, n_classes)[0]


def exchange_test(labels: np.ndarray, a: np.ndarray, b: np.ndarray, n_classes: int, seed: int) -> float:
    """P-value of the hypothesis that two classifiers' predictions for an image are exchangeable, by the difference of
    their macro F1 (approximate randomization, Noreen 1989, Yeh 2000; for accuracy the same test is McNemar's). All
    exchanges are tried if they are fewer than 10,000, otherwise 9,999 random ones. Labels and predictions are (N,).
    """
    rows = np.flatnonzero(a != b)
    if not len(rows):
        return 1.0
    sizes = np.bincount(labels, minlength=n_classes)
    of_a, of_b = (_counts(labels, predicted, n_classes) for predicted in (a, b))

    def differences(exchanged: np.ndarray) -> np.ndarray:
        """(R,) absolute differences of macro F1 after the exchange of (R, D) predictions."""
        moved = exchanged @ (of_b - of_a)[:, rows]  # (2, R, K)
        sides = (of_a.sum(axis=1, keepdims=True) + moved, of_b.sum(axis=1, keepdims=True) - moved)
        score_a, score_b = (_f1(hits, sizes + predicted).mean(axis=1) for hits, predicted in sides)
        return np.abs(score_b - score_a)

    observed = differences(np.zeros((1, len(rows))))[0] - 1e-12  # other sums round otherwise
    if 2 ** len(rows) <= SWAPS:
        every = np.array([*product((0, 1), repeat=len(rows))])
        return float((differences(every) >= observed).mean())
    rng = np.random.default_rng(seed)
    blocks = (rng.integers(0, 2, (len(part), len(rows))) for part in np.array_split(np.arange(SWAPS), 20))
    return float((1 + sum((differences(block) >= observed).sum() for block in blocks)) / (SWAPS + 1))


def _counts(labels: np.ndarray, predicted: np.ndarray, n_classes: int) -> np.ndarray:
    """(2, N, K) of 0 and 1: whether the class is predicted and right, and whether it is predicted."""
    chosen = np.eye(n_classes)[predicted]
    return np.stack([chosen * (labels == predicted)[:, None], chosen])


def _f1(hits: np.ndarray, either: np.ndarray) -> np.ndarray:
    """F1 of each class, (..., K), from the number of its images that are recognised (`hits`), and the sum of its images
    and those predicted as it (`either`)."""
    return np.divide(2 * hits, either, out=np.zeros(np.shape(either)), where=either > 0)


def _macro_f1(labels: np.ndarray, predicted: np.ndarray, n_classes: int) -> tuple[float, np.ndarray]:
    """The score, and (N,) the influence of each image on it: N times the derivative by its share of all images."""
    right = labels == predicted
    either = (np.bincount(labels, minlength=n_classes) + np.bincount(predicted, minlength=n_classes)).astype(float)
    f1 = _f1(np.bincount(labels[right], minlength=n_classes), either)
    weight = len(labels) / np.maximum(either, 1) / n_classes  # a class with no label and no prediction has no image
    influence = weight[labels] * (right - f1[labels]) + weight[predicted] * (right - f1[predicted])
    return float(f1.mean()), influence


def _normal_ends(mean: float, variance: float, n: int) -> tuple[float, float]:
    """95 % interval of a difference of two scores of 0..1."""
    half = scipy.stats.norm.ppf((1 + INTERVAL) / 2) * np.sqrt(variance / n)
    return float(max(mean - half, -1)), float(min(mean + half, 1))
