"""Faithfulness: do the pixels that an explanation ranks first carry the prediction?"""

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from glassbox.data.batches import to_float
from glassbox.models import Classifier, probabilities
from glassbox.xai_metrics.base import Metric

PETSIUK = "Petsiuk, Das & Saenko 2018, RISE: Randomized Input Sampling for Explanation of Black-box Models, section 4.1"
DELETION = Metric("deletion_auc", "faithfulness", False, "mean probability, 0 to 1", PETSIUK)
INSERTION = Metric("insertion_auc", "faithfulness", True, "mean probability, 0 to 1", PETSIUK)


def rank(maps: np.ndarray) -> np.ndarray:
    """Place of every pixel when those with the highest attribution come first: (N, H, W) int64, 0..H*W-1.

    Equal pixels, such as those of one region, keep their order in the image.
    """
    n, h, w = maps.shape
    order = np.argsort(-maps.reshape(n, h * w), axis=1, kind="stable")
    places = np.empty_like(order)
    np.put_along_axis(places, order, np.arange(h * w)[None], axis=1)
    return places.reshape(n, h, w)


def curve(
    classifier: Classifier,
    start: torch.Tensor,
    end: torch.Tensor,
    target: int,
    places: np.ndarray,
    steps: int,
    batch_size: int,
) -> np.ndarray:
    """Probability of the target while the pixels of `start` are replaced by those of `end` in the order of `places`.

    Args:
        start, end: (3, H, W) float in 0..1.
        target: class.
        places: (H, W), of `rank`.
        steps: how many equal portions.

    Returns:
        (steps + 1,) from no pixel replaced to all.
    """
    replaced = torch.from_numpy(np.round(np.linspace(0, places.size, steps + 1)).astype(np.int64))
    mask = torch.from_numpy(places)[None] < replaced[:, None, None]  # (steps + 1, H, W)
    mixed = torch.where(mask[:, None].to(start.device), end, start)  # (steps + 1, 3, H, W)
    return probabilities(classifier, mixed, batch_size)[:, target].numpy()


def blur(images: torch.Tensor, sigma: float) -> torch.Tensor:
    """(N, 3, H, W) float images on the CPU, blurred by a Gaussian of standard deviation `sigma`, pixels."""
    return torch.from_numpy(gaussian_filter(images.numpy(), sigma=(0, 0, sigma, sigma)))


def area(values: np.ndarray) -> float:
    """Area under a curve over 0..1 by the trapezoidal rule."""
    return float(np.trapezoid(values, dx=1 / (len(values) - 1)))


def replaced(images: torch.Tensor, by: str, colour: tuple[float, ...], blur_sigma: float) -> torch.Tensor:
    """What carries no information, in place of images (N, 3, H, W) float on the CPU.

    Args:
        by: "mean", the colour `colour`; "blur", the images blurred; "black".
        colour: the training images' mean, 0..1 a channel: the zero of an image that is normalised by it.
        blur_sigma: standard deviation of the Gaussian blur, pixels.
    """
    if by == "blur":
        return blur(images, blur_sigma)
    flat = torch.tensor({"mean": colour, "black": (0.0, 0.0, 0.0)}[by], dtype=torch.float32)
    return flat.view(1, 3, 1, 1).expand_as(images)


def auc(
    classifier: Classifier, start: torch.Tensor, end: torch.Tensor, targets: torch.Tensor, places: np.ndarray,
    *, steps: int, batch_size: int,
) -> np.ndarray:  # fmt: skip
    """Area under the target's probability while pixels of `start` are replaced by those of `end`, the highest-ranked
    first (N,): from an image to what carries no information it is the deletion AUC, and low is good; back it is the
    insertion AUC, and high is good.

    Args:
        start, end: (N, 3, H, W) float in 0..1.
        targets: (N,).
        places: (N, H, W), of `rank`.
        steps: equal portions of the pixels.
    """
    rows = zip(start, end, targets.tolist(), places, strict=True)
    return np.array([area(curve(classifier, *row, steps, batch_size)) for row in rows])


def deletion_auc(
    classifier: Classifier, images: torch.Tensor, targets: torch.Tensor, maps: np.ndarray,
    *, colour: tuple[float, ...], steps: int, batch_size: int,
) -> np.ndarray:  # fmt: skip
    """`auc` of images (N, H, W, 3) uint8 whose pixels take the colour `colour`."""
    x = to_float(images)
    flat = replaced(x, "mean", colour, 0)
    return auc(classifier, x, flat, targets, rank(maps), steps=steps, batch_size=batch_size)


def insertion_auc(
    classifier: Classifier, images: torch.Tensor, targets: torch.Tensor, maps: np.ndarray,
    *, blur_sigma: float, steps: int, batch_size: int,
) -> np.ndarray:  # fmt: skip
    """`auc` of blurred images whose pixels become those of the images (N, H, W, 3) uint8."""
    x = to_float(images)
    return auc(classifier, blur(x, blur_sigma), x, targets, rank(maps), steps=steps, batch_size=batch_size)
