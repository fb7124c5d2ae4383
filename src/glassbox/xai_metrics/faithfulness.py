"""Faithfulness: does the prediction depend on the pixels that an explanation ranks first?"""

from typing import Any

import numpy as np
import scipy
import torch

from glassbox.config.types import Precision
from glassbox.core.seeds import derive
from glassbox.data.batches import to_float
from glassbox.explainers.base import Request
from glassbox.models import Classifier, device_of, probabilities
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
            yield metric, by, areas(curves(sample.classifier, *ends, sample.request.targets, places, **how))


def rank(maps: np.ndarray, seeds: tuple[int, ...]) -> np.ndarray:
    """Place of every pixel of maps (N, H, W) in the order of falling attribution: (N, H, W) int64, 0..H*W-1.

    Equal pixels, such as those of a region, come in a random order, drawn from the image's seed (N,) and the same for
    all maps of the image. So a map of one value scores what the random control scores. The order of rows would rank
    equal pixels by their position, which is not in the map.
    """
    n, h, w = maps.shape
    drawn = np.stack([np.random.default_rng(derive(seed, "ties")).permutation(h * w) for seed in seeds])  # (N, H*W)
    values = np.take_along_axis(maps.reshape(n, h * w), drawn, axis=1)
    order = np.take_along_axis(drawn, np.argsort(-values, axis=1, kind="stable"), axis=1)
    return np.argsort(order, axis=1).reshape(n, h, w)  # the inverse permutation


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
        steps: number of equal portions.
        batch_size: images in one forward pass, from any of the N.
        precision: of the network's products.

    Returns:
        (N, steps + 1), each row from no pixel replaced to all.
    """
    device, points = device_of(classifier), steps + 1
    start, end = (x.to(device).contiguous(memory_format=torch.channels_last) for x in (start, end))
    order = torch.from_numpy(places.astype(np.int32)).to(device)
    replaced = torch.from_numpy(np.round(np.linspace(0, places[0].size, points)).astype(np.int32)).to(device)

    def mixed(rows: torch.Tensor) -> torch.Tensor:
        which, mask = rows // points, order[rows // points] < replaced[rows % points, None, None]  # (B,), (B, H, W)
        return torch.where(mask[:, None], end[which], start[which])  # (B, 3, H, W)

    rows = torch.arange(len(targets) * points)
    p = probabilities(classifier, rows, batch_size, prepare=mixed, precision=precision)
    return p[rows, targets.cpu().repeat_interleave(points)].view(-1, points).numpy()


def areas(values: np.ndarray) -> np.ndarray:
    """Areas (N,) under curves (N, P) over 0..1 by the trapezoidal rule."""
    return np.trapezoid(values, dx=1 / (values.shape[1] - 1), axis=1)


def blur(images: torch.Tensor, sigma: float) -> torch.Tensor:
    """(N, 3, H, W) float images on the CPU, blurred by a Gaussian of standard deviation `sigma`, pixels."""
    return torch.from_numpy(scipy.ndimage.gaussian_filter(images.numpy(), sigma=(0, 0, sigma, sigma)))


def replaced(images: torch.Tensor, by: str, colour: tuple[float, ...], blur_sigma: float) -> torch.Tensor:
    """The baseline of images (N, 3, H, W) float on the CPU, which carries no information.

    Args:
        by: "mean", the colour `colour`; "blur", the images blurred; "black".
        colour: the training images' mean, 0..1 a channel: the zero of an image that is normalised by it.
        blur_sigma: standard deviation of the Gaussian blur, pixels.
    """
    if by == "blur":
        return blur(images, blur_sigma)
    flat = torch.tensor({"mean": colour, "black": (0.0, 0.0, 0.0)}[by], dtype=torch.float32)
    return flat.view(1, 3, 1, 1).expand_as(images)


def deletion_auc(
    classifier: Classifier, request: Request, maps: np.ndarray, *, colour: tuple[float, ...], **how: Any
) -> np.ndarray:
    """Area under the target's probability (N,) while the pixels of the images take a colour, those with the highest
    attribution first; low is good. `how` are further arguments of `curves`."""
    return areas(deletion_curves(classifier, request, maps, colour=colour, **how))


def deletion_curves(
    classifier: Classifier, request: Request, maps: np.ndarray, *, colour: tuple[float, ...], **how: Any
) -> np.ndarray:
    """The curves (N, steps + 1) of `deletion_auc`."""
    x, places = to_float(request.images), rank(maps, request.seeds)
    return curves(classifier, x, replaced(x, "mean", colour, 0), request.targets, places, **how)


def insertion_auc(
    classifier: Classifier, request: Request, maps: np.ndarray, *, blur_sigma: float, **how: Any
) -> np.ndarray:
    """Area under the target's probability (N,) while the pixels of the images replace those of the blurred images,
    those with the highest attribution first; high is good. `how` are further arguments of `curves`."""
    x, places = to_float(request.images), rank(maps, request.seeds)
    return areas(curves(classifier, blur(x, blur_sigma), x, request.targets, places, **how))
