"""ROAD: the effect on the prediction of removing pixels so that a network cannot detect which are missing."""

import numpy as np
import torch
from torch.nn.functional import conv2d

from glassbox.data.batches import to_float
from glassbox.explainers.base import Request
from glassbox.models import Classifier, probabilities
from glassbox.xai_metrics.base import Metric, Sample, Scores
from glassbox.xai_metrics.faithfulness import rank

RONG = "Rong et al. 2022, A Consistent and Efficient Evaluation Strategy for Attribution Methods"
ROAD = Metric("road", "faithfulness", True, "half a difference of probabilities, -0.5..0.5", RONG)
METRICS = (ROAD,)
WEIGHTS = torch.tensor([[1 / 12, 1 / 6, 1 / 12], [1 / 6, 0, 1 / 6], [1 / 12, 1 / 6, 1 / 12]])
PRECISION = 1e-6  # largest residual of the equations; the error of colours is then about 1 % of the usual noise
MOST = 1000  # iterations


def measure(sample: Sample) -> Scores:
    """The mean over all removed shares, over the lower and over the upper half of them."""
    s = sample.settings.road
    how = {"shares": s.shares, "noise": s.noise, "batch_size": sample.batch_size}
    by_share = road(sample.classifier, sample.request, sample.maps, **how)  # (N, K)
    half = (len(s.shares) + 1) // 2
    yield ROAD, "all shares", by_share.mean(axis=1)
    yield ROAD, "lower half", by_share[:, :half].mean(axis=1)
    yield ROAD, "upper half", by_share[:, -half:].mean(axis=1)


def impute(images: torch.Tensor, missing: torch.Tensor) -> torch.Tensor:
    """Fill missing pixels (B, H, W) bool of images (B, 3, H, W) float, so that each is the weighted mean of its eight
    neighbours: 1/6 for those beside, above and below, 1/12 for the diagonal ones, of those that exist. An image with no
    known pixel becomes black.

    The linear equations of all images are solved together by conjugate gradients.
    """
    if torch.equal(images, images[:, :1].expand_as(images)):
        images = images[:, :1]  # grey: three channels with one solution
    b, c, h, w = images.shape
    kernel = WEIGHTS.to(images)[None, None]

    def neighbours(v: torch.Tensor) -> torch.Tensor:  # their weighted sum
        return conv2d(v.reshape(b * c, 1, h, w), kernel, padding=1).view(b, c, h, w)

    unknown = missing[:, None].to(images.dtype)  # (B, 1, H, W)
    degree = neighbours(torch.ones_like(images))

    def apply(v: torch.Tensor) -> torch.Tensor:  # a symmetric positive matrix
        return unknown * (degree * v - neighbours(v))

    def dot(u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return (u * v).sum(dim=(2, 3), keepdim=True)

    x = torch.zeros_like(images)
    residual = unknown * neighbours(images * (1 - unknown))
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
    return torch.where(missing[:, None], x, images).expand(-1, 3, -1, -1)


def road(
    classifier: Classifier,
    request: Request,
    maps: np.ndarray,
    *,
    shares: tuple[float, ...],
    noise: float,
    batch_size: int,
) -> np.ndarray:
    """Half the difference of the target's probability without the least and without the most relevant pixels, for each
    share (N, K); high is good. ROAD is its mean over the shares.

    Args:
        request: N images, targets, and seeds of the noise and of the order of equal pixels.
        maps: (N, H, W).
        shares: K shares of the pixels that are removed, 0..1.
        noise: standard deviation of the noise added to imputed colours, 0..1.
    """
    scores, images, targets = [], to_float(request.images), request.targets.tolist()
    ranked = rank(maps, request.seeds)
    for image, target, places, seed in zip(images, targets, ranked, request.seeds, strict=True):
        counts = np.round(np.array(shares) * places.size)[:, None, None]
        most = places[None] < counts  # (K, H, W)
        least = places[None] >= places.size - counts
        missing = torch.from_numpy(np.concatenate([most, least]))
        generator = torch.Generator().manual_seed(seed)
        noisy = noise * torch.randn(image.shape, generator=generator)
        # One by one: each then ends when it is solved, and stays in the processor's cache.
        filled = torch.cat([impute(image[None], one[None]) for one in missing])
        mixed = torch.where(missing[:, None], filled + noisy, filled)  # (2K, 3, H, W)
        p = probabilities(classifier, mixed, batch_size)[:, target].view(2, -1)
        scores.append((p[1] - p[0]).numpy() / 2)
    return np.stack(scores)
