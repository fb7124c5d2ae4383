"""Sensitivity: does the explanation stay while the image changes a little and the prediction not at all?

Not "it did not change" alone is good: a map of one value never changes, whatever the model does. Read it beside
faithfulness.
"""

import numpy as np

from glassbox.xai_metrics.base import Metric

YEH = "Yeh et al. 2019, On the (In)fidelity and Sensitivity of Explanations, definition 3"
UNIT = "relative change of the map, 0..2, less the explainer's own noise"
MAX_SENSITIVITY = Metric("max_sensitivity", "robustness", False, UNIT, f"{YEH}: of random noise on the image")
BRIGHTNESS = Metric("brightness_sensitivity", "robustness", False, UNIT, f"{YEH}; of a brighter and a darker image")
SHIFT = Metric(
    "shift_sensitivity",
    "robustness",
    False,
    UNIT,
    f"{YEH}; of a shifted image whose map is shifted back, after Kindermans et al. 2019, The (Un)reliability of "
    "Saliency Methods",
)
ATTACK = Metric(
    "attack_sensitivity",
    "robustness",
    False,
    UNIT,
    "Ghorbani, Abid & Zou 2019, Interpretation of Neural Networks is Fragile; Dombrowski et al. 2019, Explanations can "
    "be Manipulated and Geometry is to Blame",
)
METRICS = (MAX_SENSITIVITY, BRIGHTNESS, SHIFT, ATTACK)  # `scoring` has the explainer explain the changed images


def change(before: np.ndarray, after: np.ndarray, known: np.ndarray | None = None) -> np.ndarray:
    """|after - before| over the larger of |before| and |after|, Euclidean norms: (N,), 0 the same to 2 the opposite.

    Yeh et al. divide by |before| alone; a map that is nearly zero, as Grad-CAM's often are, then outweighs all others.

    Args:
        before, after: (N, H, W) maps.
        known: (N, H, W) bool, pixels that count; None = all.
    """
    inside = np.ones(before.shape, bool) if known is None else known
    moved, one, other = (
        np.linalg.norm((values * inside).reshape(len(values), -1).astype(np.float64), axis=1)
        for values in (after - before, before, after)
    )
    size = np.maximum(one, other)
    return np.where(size > 0, moved / np.where(size > 0, size, 1), 0.0)


def max_sensitivity(changes: np.ndarray, kept: np.ndarray, floor: np.ndarray) -> np.ndarray:
    """The largest change among draws that leave the prediction, less the largest change that the explainer makes of
    itself, when nothing but its random numbers is another: (N,).

    Args:
        changes: (D, N) of changed images; draw d has random numbers of its own.
        kept: (D, N) bool, whether the prediction stayed.
        floor: (D, N) of the unchanged image, with the same random numbers.

    Returns:
        NaN for an image with no draw that leaves the prediction; below 0 where the change is lost in the noise.
    """
    with np.errstate(invalid="ignore"):
        worst, own = (np.where(kept, values, -np.inf).max(axis=0) for values in (changes, floor))
    return np.where(kept.any(axis=0), worst - np.where(kept.any(axis=0), own, 0), np.nan)
