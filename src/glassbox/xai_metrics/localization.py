"""Localization: does what speaks for a class lie where the object is?"""

import numpy as np

from glassbox.xai_metrics.base import Metric

RELEVANCE_MASS = Metric(
    "relevance_mass", "localization", True, "share of the positive attribution, 0..1; by chance the mask's share",
    "Arras, Osman & Samek 2022, CLEVR-XAI: relevance mass accuracy",
)  # fmt: skip


def relevance_mass(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Share of the positive attribution that lies inside the mask (N,).

    Args:
        maps: (N, H, W).
        masks: (N, H, W) bool.

    Returns:
        0..1; by chance it is `area`, which is also what counts for a map with nothing positive: it points nowhere. NaN
        where the mask is empty.
    """
    positive = np.maximum(maps, 0).astype(np.float64)
    total = positive.sum(axis=(1, 2))
    inside = (positive * masks).sum(axis=(1, 2))
    mass = np.where(total > 0, inside / np.where(total > 0, total, 1), area(masks))
    return np.where(masks.any(axis=(1, 2)), mass, np.nan)


def area(masks: np.ndarray) -> np.ndarray:
    """Share of the pixels inside each mask (N,)."""
    return masks.mean(axis=(1, 2))
