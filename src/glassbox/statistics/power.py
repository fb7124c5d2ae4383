"""How large a difference the images at hand can tell, and how many images would tell the one they show: the power of
the corrected signed-rank test, from samples drawn again from the differences at hand."""

import numpy as np
import scipy

from glassbox.statistics.comparison import shift, statistic
from glassbox.statistics.paired import LEVEL, POWER

SAMPLES = 100  # drawn for each number of images
SIZES = (12, 20, 30, 40, 60, 80, 100, 150, 200, 300, 400, 600, 800, 1000)  # numbers of images that are tried
STEPS = 6  # halvings of the range in which the detectable difference lies


def power(differences: np.ndarray, images: int, tests: int, seed: int) -> float:
    """Share of samples in which the test finds a difference of the sign that the differences at hand have.

    Args:
        differences: (N,) of paired scores.
        images: of a sample, drawn with replacement.
        tests: of the family; a comparison must reach LEVEL / tests, Holm's first step.
        seed: of the samples.
    """
    places = np.random.default_rng(seed).integers(0, len(differences), (SAMPLES, images))
    reached = statistic(differences[places]) * np.sign(statistic(differences))
    return float((reached > scipy.stats.norm.isf(LEVEL / tests / 2)).mean())


def needed(differences: np.ndarray, tests: int, seed: int) -> float:
    """The smallest of `SIZES` at which the differences at hand (N,) would be found with a power of 80 %; infinite where
    the largest is too small."""
    return next((float(n) for n in SIZES if power(differences, n, tests, seed) >= POWER), np.inf)


def detectable(differences: np.ndarray, tests: int, seed: int) -> float:
    """The smallest typical difference that as many images as there are differences (N,) would find with a power of
    80 %, if differences were spread as they are, but around it. Unit: that of the scores; 0 where nothing varies."""
    centred = differences - shift(differences)[0]
    low, high = 0.0, 2 * float(np.abs(centred).max())
    if high == 0:
        return 0.0
    for _ in range(STEPS):
        middle = (low + high) / 2
        if power(centred + middle, len(centred), tests, seed) >= POWER:
            high = middle
        else:
            low = middle
    return high
