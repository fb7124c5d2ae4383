"""Small changes of images after which the prediction, and so its explanation, should be the same."""

import numpy as np


def noise(images: np.ndarray, radius: float, seeds: tuple[int, ...]) -> np.ndarray:
    """Every colour of every pixel moved by at most `radius`, evenly drawn: (N, H, W, 3) uint8.

    Args:
        images: (N, H, W, 3) uint8.
        radius: 0..1.
        seeds: (N,).
    """
    drawn = np.stack([np.random.default_rng(seed).uniform(-1, 1, images.shape[1:]) for seed in seeds])
    return _colours(images + 255 * radius * drawn)


def brighter(images: np.ndarray, by: np.ndarray) -> np.ndarray:
    """All colours times 1 + `by` (N,), which may be below 0: (N, H, W, 3) uint8."""
    return _colours(images * (1 + by[:, None, None, None]))


def shifted(values: np.ndarray, by: np.ndarray) -> np.ndarray:
    """Everything `by` (N,) pixels to the right and down, or to the left and up where it is below 0; at the border
    behind it the outermost pixels are repeated.

    Args:
        values: (N, H, W, ...), images or maps.
    """
    moved = []
    for one, n in zip(values, by.tolist(), strict=True):
        rows, columns = (np.clip(np.arange(side) - n, 0, side - 1) for side in one.shape[:2])
        moved.append(one[rows][:, columns])
    return np.stack(moved)


def still_there(h: int, w: int, by: int) -> np.ndarray:
    """(h, w) bool: the pixels that have not left an image that is shifted by `by`."""
    rows, columns = ((np.arange(side) + by >= 0) & (np.arange(side) + by < side) for side in (h, w))
    return rows[:, None] & columns[None]


def _colours(values: np.ndarray) -> np.ndarray:
    return np.round(np.clip(values, 0, 255)).astype(np.uint8)
