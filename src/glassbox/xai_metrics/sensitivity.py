"""Sensitivity: how much does the explanation change if the image changes a little and the prediction does not?

Low sensitivity alone is not good: a map of one value never changes, whatever the model. Read it beside faithfulness.
"""

import numpy as np

from glassbox.xai_metrics.base import Metric

YEH = "Yeh et al. 2019, On the (In)fidelity and Sensitivity of Explanations, definition 3"
UNIT = "relative change of the map, 0..2, less the explainer's own noise"
MAX_SENSITIVITY = Metric("max_sensitivity", "robustness", False, UNIT, f"{YEH}: of random noise on the image")
BRIGHTNESS = Metric("brightness_sensitivity", "robustness", False, UNIT, f"{YEH}; of a brighter and a darker image")
KINDERMANS = "Kindermans et al. 2019, The (Un)reliability of Saliency Methods"
BACK = f"{YEH}; of a shifted image whose map is shifted back, after {KINDERMANS}"
SHIFT = Metric("shift_sensitivity", "robustness", False, UNIT, BACK)
ATTACKS = (
    "Ghorbani, Abid & Zou 2019, Interpretation of Neural Networks is Fragile; Dombrowski et al. 2019, Explanations can "
    "be Manipulated and Geometry is to Blame"
)
ATTACK = Metric("attack_sensitivity", "robustness", False, UNIT, ATTACKS)
METRICS = (MAX_SENSITIVITY, BRIGHTNESS, SHIFT, ATTACK)  # `scoring` has the explainer explain the changed images


def change(before: np.ndarray, after: np.ndarray, known: np.ndarray | None = None) -> np.ndarray:
    """|after - before| divided by the larger of |before| and |after|, Euclidean norms of maps (N, H, W): (N,), from 0
    if they are equal to 2 if they are opposite. `known` (N, H, W) bool are the pixels that count; None = all.

    Yeh et al. divide by |before| alone; a map that is almost zero, as Grad-CAM's often are, then outweighs all others.
    """
    inside = np.ones(before.shape, bool) if known is None else known
    distance, length_before, length_after = (
        np.linalg.norm((values * inside).reshape(len(values), -1).astype(np.float64), axis=1)
        for values in (after - before, before, after)
    )
    length = np.maximum(length_before, length_after)
    return np.where(length > 0, distance / np.where(length > 0, length, 1), 0.0)


def max_sensitivity(changes: np.ndarray, kept: np.ndarray, floor: np.ndarray) -> np.ndarray:
    """The largest change among draws that keep the prediction, minus the largest change that only other random numbers
    of the explainer cause: (N,). NaN if no draw keeps the prediction; negative if the change is within that noise.

    All are (D, N): the changes for changed images, whether the prediction was kept, and the changes for the unchanged
    images with the same random numbers (`floor`).
    """
    worst, noise = (np.fmax.reduce(np.where(kept, values, np.nan)) for values in (changes, floor))  # ignores NaN
    return worst - noise
