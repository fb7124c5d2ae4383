"""Regions of an image that LIME and Shapley values show or hide."""

import math
from collections.abc import Iterable

import numpy as np
import torch

from glassbox.config.explain import MOST_REGIONS, Superpixels
from glassbox.execution import compute

FEWEST = 8  # with fewer regions an explanation is too coarse to mean anything


def segment(image: np.ndarray, how: Superpixels) -> np.ndarray:
    """SLIC regions (Achanta et al. 2012) of an image (H, W, 3) uint8: (H, W) int64 labels 0..S-1.

    LIME's own default, quickshift with kernel 4 and distance 200, finds one or two regions in a 32x32 image. Where SLIC
    finds fewer than 8 regions, as in noise, whose splinters it merges into one, or more than `MOST_REGIONS` for
    each one that it is asked for, the image is cut into a grid of squares instead; see `on_squares`.
    """
    labels = _slic(image, how)
    return labels if _usable(labels, how) else _squares(*image.shape[:2], how.segments)


def on_squares(images: Iterable[np.ndarray], how: Superpixels) -> list[bool]:
    """For each image (H, W, 3) uint8 whether its regions are a grid of squares."""
    return [not _usable(_slic(image, how), how) for image in images]


def _slic(image: np.ndarray, how: Superpixels) -> np.ndarray:
    from skimage.segmentation import slic

    labels = slic(
        image, n_segments=how.segments, compactness=how.compactness, sigma=how.sigma, start_label=0, channel_axis=2
    )
    _, labels = np.unique(labels, return_inverse=True)  # 0..S-1 without gaps
    return labels.reshape(image.shape[:2])


def _usable(labels: np.ndarray, how: Superpixels) -> bool:
    return FEWEST <= labels.max() + 1 <= MOST_REGIONS * how.segments


def _squares(h: int, w: int, segments: int) -> np.ndarray:
    """At most so many squares, but at least nine: (H, W) labels, row by row."""
    side = max(3, math.isqrt(segments))
    rows, columns = (np.arange(n) * min(side, n) // n for n in (h, w))
    return rows[:, None] * min(side, w) + columns[None]


class Composition:
    """Images whose regions show one image or another, many at a time.

    A matrix product of masks and regions' differences is several times as fast as selecting pixels, and exact: colours
    are whole numbers, which bfloat16 represents up to 256.

    Args:
        segments: (H, W) labels 0..S-1.
        image, other: (H, W, 3) uint8, what regions show where a mask is True, and where it is False.
        device: where images are made.
    """

    def __init__(self, segments: np.ndarray, image: torch.Tensor, other: torch.Tensor, device: torch.device) -> None:
        self.shape = image.shape
        where = torch.from_numpy(segments).to(device).flatten()
        self.number = compute.number("auto", device)
        self.other = other.to(device, self.number).view(1, -1)  # (1, H * W * 3)
        pixels = image.to(device, self.number).view(1, -1) - self.other
        differences = pixels.new_zeros(int(where.max()) + 1, len(where), 3)
        differences[where, torch.arange(len(where), device=device)] = pixels.view(-1, 3)
        self.differences = differences.flatten(1)  # (S, H * W * 3)

    def __call__(self, masks: torch.Tensor) -> torch.Tensor:
        """Masks (M, S) of bool on the device to images (M, 3, H, W) float in 0..1, in channels_last memory order."""
        colours = torch.addmm(self.other, masks.to(self.number), self.differences).float().div_(255)
        return colours.view(-1, *self.shape).permute(0, 3, 1, 2)
