"""Regions of an image that LIME and KernelSHAP switch on and off."""

import numpy as np

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
