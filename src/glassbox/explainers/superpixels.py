"""Regions of an image that LIME and KernelSHAP switch on and off."""

import numpy as np
import torch

from glassbox import compute
from glassbox.config import Superpixels
from glassbox.errors import UserError

FEWEST = 8  # with fewer regions an explanation says next to nothing


def segment(image: np.ndarray, how: Superpixels) -> np.ndarray:
    """SLIC regions (Achanta et al. 2012) of an image (H, W, 3) uint8: (H, W) int64 labels 0..S-1.

    LIME's own default, quickshift with kernel 4 and distance 200, finds one or two regions in a 32x32 image.

    Raises:
        UserError: fewer than 8 regions were found.
    """
    from skimage.segmentation import slic

    labels = slic(
        image, n_segments=how.segments, compactness=how.compactness, sigma=how.sigma, start_label=0, channel_axis=2
    )
    _, labels = np.unique(labels, return_inverse=True)  # 0..S-1 without gaps
    labels = labels.reshape(image.shape[:2])
    if labels.max() + 1 < FEWEST:
        raise UserError(
            f"explain.superpixels gives an image only {labels.max() + 1} regions, at least {FEWEST} are needed: raise "
            f"segments ({how.segments}), compactness ({how.compactness}) or sigma ({how.sigma})"
        )
    return labels


class Composition:
    """Images whose regions show one image or another, many at a time.

    They are a matrix product, of masks and the differences that regions make, several times as quick as choosing pixel
    by pixel, and exact: colours are whole numbers, which bfloat16 holds up to 256.

    Args:
        segments: (H, W) labels 0..S-1.
        image: (H, W, 3) uint8, what regions show where a mask is True.
        other: (H, W, 3) uint8, what they show where it is False.
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
