"""Faithfulness: do the pixels that an explanation ranks first carry the prediction?"""

from typing import Any

import numpy as np
import scipy
import torch

from glassbox.config.types import Precision
from glassbox.core.seeds import derive
from glassbox.data.batches import to_float
from glassbox.models import Classifier, probabilities
from glassbox.xai_metrics.base import Metric, Sample, Scores

PETSIUK = "Petsiuk, Das & Saenko 2018, RISE: Randomized Input Sampling for Explanation of Black-box Models, section 4.1"
DELETION = Metric("deletion_auc", "faithfulness", False, "mean probability, 0 to 1", PETSIUK)
INSERTION = Metric("insertion_auc", "faithfulness", True, "mean probability, 0 to 1", PETSIUK)
METRICS = (DELETION, INSERTION)


def measure(sample: Sample) -> Scores:
    """Both areas, with every baseline."""
    s, x, places = sample.settings, to_float(sample.request.images), rank(sample.maps, sample.request.seeds)
    how = {"steps": s.steps, "batch_size": sample.batch_size, "precision": sample.explain.precision}
    for metric, baselines in ((DELETION, s.deletion), (INSERTION, s.insertion)):
        for by in baselines[: 1 if sample.only_first else None]:
            empty = replaced(x, by, sample.mean, sample.explain.faithfulness.blur_sigma)
            ends = (x, empty) if metric is DELETION else (empty, x)
            yield metric, by, auc(sample.classifier, *ends, sample.request.targets, places, **how)


def rank(maps: np.ndarray, seeds: tuple[int, ...]) -> np.ndarray:
    """Place of every pixel when those with the highest attribution come first: (N, H, W) int64, 0..H*W-1.

    Equal pixels, such as those of one region, come in an order that is drawn by the image's seed, the same for every
    map of the image. So a map of one value scores what the random control scores, which is chance. In the order of
    their rows they would be told apart by where they are, which no explainer has said.

    Args:
        maps: (N, H, W).
        seeds: (N,) of the images.
    """
    n, h, w = maps.shape
    drawn = np.stack([np.random.default_rng(derive(seed, "ties")).permutation(h * w) for seed in seeds])  # (N, H*W)
    values = np.take_along_axis(maps.reshape(n, h * w), drawn, axis=1)
    order = np.take_along_axis(drawn, np.argsort(-values, axis=1, kind="stable"), axis=1)
    places = np.empty_like(order)
    np.put_along_axis(places, order, np.arange(h * w)[None], axis=1)
    return places.reshape(n, h, w)


def curves(
    classifier: Classifier,
    start: torch.Tensor,
    end: torch.Tensor,
    targets: torch.Tensor,
    places: np.ndarray,
    *,
    steps: int,
    batch_size: int,
    precision: Precision = "float32",
) -> np.ndarray:
    """Probabilities of the targets while the pixels of `start` are replaced by those of `end` in the order of `places`.

    Args:
        start, end: (N, 3, H, W) float in 0..1.
        targets: (N,) classes.
        places: (N, H, W), of `rank`.
        steps: how many equal portions.
        batch_size: images in one forward pass, whichever of the N they come from.
        precision: of the network's products.

    Returns:
        (N, steps + 1), each row from no pixel replaced to all.
    """
    device, points = next(classifier.parameters()).device, steps + 1
    start, end = (x.to(device).contiguous(memory_format=torch.channels_last) for x in (start, end))
    order = torch.from_numpy(places.astype(np.int32)).to(device)
    replaced = torch.from_numpy(np.round(np.linspace(0, places[0].size, points)).astype(np.int32)).to(device)

    def mixed(rows: torch.Tensor) -> torch.Tensor:
        which, mask = rows // points, order[rows // points] < replaced[rows % points, None, None]  # (B,), (B, H, W)
        return torch.where(mask[:, None], end[which], start[which])  # (B, 3, H, W)

    rows = torch.arange(len(targets) * points)
    p = probabilities(classifier, rows, batch_size, prepare=mixed, precision=precision)
    return p[rows, targets.cpu().repeat_interleave(points)].view(-1, points).numpy()


def blur(images: torch.Tensor, sigma: float) -> torch.Tensor:
    """(N, 3, H, W) float images on the CPU, blurred by a Gaussian of standard deviation `sigma`, pixels."""
    return torch.from_numpy(scipy.ndimage.gaussian_filter(images.numpy(), sigma=(0, 0, sigma, sigma)))


def areas(values: np.ndarray) -> np.ndarray:
    """Areas (N,) under curves (N, P) over 0..1 by the trapezoidal rule."""
    return np.trapezoid(values, dx=1 / (values.shape[1] - 1), axis=1)


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
    classifier: Classifier,
    start: torch.Tensor,
    end: torch.Tensor,
    targets: torch.Tensor,
    places: np.ndarray,
    **how: Any,
) -> np.ndarray:
    """Area under the target's probability while pixels of `start` are replaced by those of `end`, the highest-ranked
    first (N,): from an image to what carries no information it is the deletion AUC, and low is good; back it is the
    insertion AUC, and high is good. Arguments are those of `curves`."""
    return areas(curves(classifier, start, end, targets, places, **how))


def deletion_auc(
    classifier: Classifier,
    images: torch.Tensor,
    targets: torch.Tensor,
    maps: np.ndarray,
    *,
    seeds: tuple[int, ...],
    colour: tuple[float, ...],
    **how: Any,
) -> np.ndarray:
    """`auc` of images (N, H, W, 3) uint8 whose pixels take the colour `colour`; `seeds` are those of `rank`."""
    x = to_float(images)
    return auc(classifier, x, replaced(x, "mean", colour, 0), targets, rank(maps, seeds), **how)


def insertion_auc(
    classifier: Classifier,
    images: torch.Tensor,
    targets: torch.Tensor,
    maps: np.ndarray,
    *,
    seeds: tuple[int, ...],
    blur_sigma: float,
    **how: Any,
) -> np.ndarray:
    """`auc` of blurred images whose pixels become those of the images (N, H, W, 3) uint8; `seeds` are those of
    `rank`."""
    x = to_float(images)
    return auc(classifier, blur(x, blur_sigma), x, targets, rank(maps, seeds), **how)
