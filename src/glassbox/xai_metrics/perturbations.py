"""Small changes of images that should leave the prediction, and so its explanation, the same."""

import numpy as np


def noise(images: np.ndarray, radius: float, seeds: tuple[int, ...]) -> np.ndarray:
    """Images (N, H, W, 3) uint8 plus uniform noise of at most `radius`, 0..1, from a seed for each image (N,)."""
    drawn = np.stack([np.random.default_rng(seed).uniform(-1, 1, images.shape[1:]) for seed in seeds])
    return _colours(images + 255 * radius * drawn)


def brighter(images: np.ndarray, by: np.ndarray) -> np.ndarray:
    """Images (N, H, W, 3) uint8 times 1 + `by` (N,), which may be negative."""
    return _colours(images * (1 + by[:, None, None, None]))


def shifted(values: np.ndarray, by: np.ndarray) -> np.ndarray:
    """Images or maps (N, H, W, ...), each shifted `by` (N,) pixels to the right and down, or to the left and up if that
    is negative. The pixels at the border are repeated."""
    moved = []
    for image, n in zip(values, by.tolist(), strict=True):
        rows, columns = (np.clip(np.arange(side) - n, 0, side - 1) for side in image.shape[:2])
        moved.append(image[rows][:, columns])
    return np.stack(moved)


def still_there(h: int, w: int, by: int) -> np.ndarray:
    """(h, w) bool: the pixels that are still inside the image after a shift by `by`."""
    rows, columns = ((np.arange(side) + by >= 0) & (np.arange(side) + by < side) for side in (h, w))
    return rows[:, None] & columns[None]


def _colours(values: np.ndarray) -> np.ndarray:
    return np.round(np.clip(values, 0, 255)).astype(np.uint8)
