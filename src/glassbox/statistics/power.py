"""Power of the corrected signed-rank test, from samples drawn again from the differences at hand: the smallest
difference that these images detect, and the number of images that would detect the difference they show."""

import numpy as np
import scipy

from glassbox.statistics.comparison import shift, statistic
from glassbox.statistics.paired import LEVEL, POWER

SAMPLES = 100  # for each number of images
SIZES = (12, 20, 30, 40, 60, 80, 100, 150, 200, 300, 400, 600, 800, 1000)  # numbers of images that are tried
STEPS = 6  # halvings of the range of the detectable difference


def power(differences: np.ndarray, images: int, tests: int, seed: int) -> float:
    """Share of samples of so many images, drawn with replacement, in which the test finds a difference of the same sign
    as that of all differences (N,). A comparison must reach LEVEL / tests, Holm's first step in a family of `tests`."""
    places = np.random.default_rng(seed).integers(0, len(differences), (SAMPLES, images))
    reached = statistic(differences[places]) * np.sign(statistic(differences))
    return float((reached > scipy.stats.norm.isf(LEVEL / tests / 2)).mean())


def needed(differences: np.ndarray, tests: int, seed: int) -> float:
    """The smallest of `SIZES` that finds the differences at hand (N,) with a power of 80 %; infinite if none does."""
    return next((float(n) for n in SIZES if power(differences, n, tests, seed) >= POWER), np.inf)


def detectable(differences: np.ndarray, tests: int, seed: int) -> float:
    """The smallest typical difference that N images find with a power of 80 %, if it is spread as these (N,)
    differences are around theirs. Unit: that of the scores; 0 if nothing varies."""
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
