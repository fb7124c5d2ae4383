"""Interventions: hide the regions that a map ranks first, and see whether the prediction changes."""

from typing import TYPE_CHECKING

import numpy as np

from glassbox.xai_metrics.base import Metric

if TYPE_CHECKING:
    import torch

    from glassbox.models import Classifier

GOYAL = "after Goyal et al. 2019, Counterfactual Visual Explanations: the change that makes the decision another one"
SELVARAJU = "after Selvaraju et al. 2017, Grad-CAM, section 5.1: a map of a class names what belongs to that class"
CORRECTION = Metric("correction", "diagnosis of mistakes", True, "share of mistakes, 0..1", GOYAL)
DISCRIMINATION = Metric("discrimination", "class discrimination", True, "probability, -1..1", SELVARAJU)


def region_means(values: np.ndarray, segments: np.ndarray) -> np.ndarray:
    """Mean of a map (H, W) over each region, labelled 0..S-1 in `segments` (H, W): (S,)."""
    return np.bincount(segments.ravel(), weights=values.ravel()) / np.bincount(segments.ravel())


def strongest(values: np.ndarray, segments: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Mask (H, W) of the regions, labelled 0..S-1 in `segments` (H, W), with the highest mean of a map (H, W), as few
    as cover a share, 0..1, of the pixels. The seed decides the order of regions with equal means."""
    means, sizes = region_means(values, segments), np.bincount(segments.ravel())
    drawn = np.random.default_rng(seed).permutation(len(means))
    return _first(drawn[np.argsort(-means[drawn], kind="stable")], sizes, segments, share)


def at_random(segments: np.ndarray, share: float, draws: int, seed: int) -> np.ndarray:
    """Masks like those of `strongest`, of regions in random order: (draws, H, W) bool."""
    rng, sizes = np.random.default_rng(seed), np.bincount(segments.ravel())
    return np.stack([_first(rng.permutation(len(sizes)), sizes, segments, share) for _ in range(draws)])


def probabilities_without(
    classifier: "Classifier", image: "torch.Tensor", masks: np.ndarray, blur_sigma: float, batch_size: int
) -> np.ndarray:
    """Probabilities (M, K) for an image (H, W, 3) uint8, blurred in masks (M, H, W) bool by a Gaussian of so many
    pixels. The classifier is left in the mode it was in."""
    return _probabilities(classifier, image, masks, ("blur", (0.0, 0.0, 0.0), blur_sigma), batch_size)


def probabilities_behind(
    classifier: "Classifier", image: "torch.Tensor", masks: np.ndarray, colour: tuple[float, ...], batch_size: int
) -> np.ndarray:
    """The same with a colour in the masks, 0..1 a channel."""
    return _probabilities(classifier, image, masks, ("mean", colour, 0), batch_size)


def each_region(segments: np.ndarray) -> np.ndarray:
    """The mask of each region: (S, H, W) bool from labels (H, W) 0..S-1."""
    return segments == np.arange(segments.max() + 1)[:, None, None]


def _probabilities(
    classifier: "Classifier", image: "torch.Tensor", masks: np.ndarray, hidden_by: tuple, batch_size: int
) -> np.ndarray:
    """The same; `hidden_by` are the arguments of `faithfulness.replaced` after the image."""
    import torch  # the report imports this module, and needs no torch

    from glassbox.data.batches import to_float
    from glassbox.models import probabilities
    from glassbox.xai_metrics.faithfulness import replaced

    whole = to_float(image[None])  # (1, 3, H, W)
    mixed = torch.where(torch.from_numpy(masks)[:, None], replaced(whole, *hidden_by), whole)  # (M, 3, H, W)
    return probabilities(classifier, mixed, batch_size).numpy()


def _first(order: np.ndarray, sizes: np.ndarray, segments: np.ndarray, share: float) -> np.ndarray:
    covered = np.cumsum(sizes[order])
    n = 1 + int(np.searchsorted(covered, share * segments.size))  # rounding aside, the fewest that reach the share
    return np.isin(segments, order[:n])
