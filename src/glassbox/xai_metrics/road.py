"""ROAD: remove pixels so that a network cannot see where they were, and watch the prediction."""

import numpy as np
import torch
from torch.nn.functional import conv2d

from glassbox.data.batches import to_float
from glassbox.models import Classifier, probabilities
from glassbox.xai_metrics.base import Metric, Sample, Scores
from glassbox.xai_metrics.faithfulness import rank

RONG = "Rong et al. 2022, A Consistent and Efficient Evaluation Strategy for Attribution Methods"
ROAD = Metric("road", "faithfulness", True, "half a difference of probabilities, -0.5..0.5", RONG)
METRICS = (ROAD,)
WEIGHTS = torch.tensor([[1 / 12, 1 / 6, 1 / 12], [1 / 6, 0, 1 / 6], [1 / 12, 1 / 6, 1 / 12]])
PRECISION = 1e-6  # to which the equations hold; colours are then right to about a hundredth of the usual noise
MOST = 1000  # iterations


def measure(sample: Sample) -> Scores:
    """The mean over all shares that are removed, and over the lower and the upper half of them."""
    s, request = sample.settings.road, sample.request
    how = {"shares": s.shares, "noise": s.noise, "batch_size": sample.batch_size}
    by_share = road(sample.classifier, request.images, request.targets, sample.maps, request.seeds, **how)  # (N, K)
    half = (len(s.shares) + 1) // 2
    yield ROAD, "all shares", by_share.mean(axis=1)
    yield ROAD, "lower half", by_share[:, :half].mean(axis=1)
    yield ROAD, "upper half", by_share[:, -half:].mean(axis=1)


def impute(images: torch.Tensor, missing: torch.Tensor) -> torch.Tensor:
    """Fill missing pixels so that each is the weighted mean of its eight neighbours, 1/6 for those beside, above and
    below, 1/12 for the diagonal ones; at the border the weights of those there are.

    The linear equations of all images are solved at once by conjugate gradients.

    Args:
        images: (B, 3, H, W) float.
        missing: (B, H, W) bool. Where nothing is known the pixels become black.

    Returns:
        (B, 3, H, W).
    """
    if torch.equal(images, images[:, :1].expand_as(images)):  # grey: three channels with one solution
        return _solved(images[:, :1], missing).expand_as(images)
    return _solved(images, missing)


def _solved(images: torch.Tensor, missing: torch.Tensor) -> torch.Tensor:
    b, c, h, w = images.shape
    kernel = WEIGHTS.to(images)[None, None]

    def around(v: torch.Tensor) -> torch.Tensor:  # weighted sum of the neighbours
        return conv2d(v.reshape(b * c, 1, h, w), kernel, padding=1).view(b, c, h, w)

    unknown = missing[:, None].to(images.dtype)  # (B, 1, H, W)
    degree = around(torch.ones_like(images))

    def apply(v: torch.Tensor) -> torch.Tensor:  # a symmetric positive matrix
        return unknown * (degree * v - around(v))

    def dot(u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return (u * v).sum(dim=(2, 3), keepdim=True)

    x = torch.zeros_like(images)
    residual = unknown * around(images * (1 - unknown))
    direction, size = residual.clone(), dot(residual, residual)
    tiny = torch.finfo(images.dtype).tiny
    for _ in range(MOST):
        if float(residual.abs().max()) < PRECISION:
            break
        moved = apply(direction)
        step = size / dot(direction, moved).clamp_min(tiny)
        x = x + step * direction
        residual = residual - step * moved
        before, size = size, dot(residual, residual)
        direction = residual + size / before.clamp_min(tiny) * direction
    return torch.where(missing[:, None], x, images)


def road(
    classifier: Classifier,
    images: torch.Tensor,
    targets: torch.Tensor,
    maps: np.ndarray,
    seeds: tuple[int, ...],
    *,
    shares: tuple[float, ...],
    noise: float,
    batch_size: int,
) -> np.ndarray:
    """Half the difference between the target's probability without the least and without the most relevant pixels, for
    each share (N, K); high is good. ROAD is its mean over the shares.

    Args:
        images: (N, H, W, 3) uint8.
        targets: (N,).
        maps: (N, H, W).
        seeds: (N,) of the noise and of the order of equal pixels, which are the same for every map of an image.
        shares: K, of the pixels that are removed, 0..1.
        noise: standard deviation of what is added to imputed colours, 0..1.
    """
    scores = []
    ranked = zip(to_float(images), targets.tolist(), rank(maps, seeds), seeds, strict=True)
    for image, target, places, seed in ranked:
        counts = np.round(np.array(shares) * places.size)[:, None, None]
        most = places[None] < counts  # (K, H, W)
        least = places[None] >= places.size - counts
        missing = torch.from_numpy(np.concatenate([most, least]))
        generator = torch.Generator().manual_seed(seed)
        added = noise * torch.randn(image.shape, generator=generator)
        filled = impute(image.expand(len(missing), -1, -1, -1), missing)
        mixed = torch.where(missing[:, None], filled + added, filled)  # (2K, 3, H, W)
        p = probabilities(classifier, mixed, batch_size)[:, target].view(2, -1)
        scores.append((p[1] - p[0]).numpy() / 2)
    return np.stack(scores)
