"""Localization: is the positive attribution where the object is?

Every score takes maps (N, H, W) and masks (N, H, W) bool and returns (N,), NaN if the mask is empty. Equal pixels count
as in the mean over random orders, so that a map of one value scores what chance does.
"""

from dataclasses import replace

import numpy as np

from glassbox.xai_metrics.base import Metric, Sample, Scores

ARRAS = "Arras, Osman & Samek 2022, CLEVR-XAI"
ZHANG = "Zhang et al. 2018, Top-Down Neural Attention by Excitation Backprop, without a margin around the mask"
CLARK = (
    "Clark, Budding & Haufe 2024, XAI-TRIS: non-linear image benchmarks to quantify false positive post-hoc "
    "attribution of feature importance: earth mover's distance"
)
MASS, RANK = f"{ARRAS}: relevance mass accuracy", f"{ARRAS}: relevance rank accuracy"
RELEVANCE_MASS = Metric("relevance_mass", "localization", True, "share of the positive attribution, 0..1", MASS)
EXCESS_MASS = replace(
    RELEVANCE_MASS, name="excess_relevance_mass", unit="share of the positive attribution above chance"
)
EXCESS_RANK = Metric("excess_rank_accuracy", "localization", True, "share of the mask's pixels above chance", RANK)
EXCESS_POINTING = Metric(
    "excess_pointing_game",
    "localization",
    True,
    "share of images above chance",
    ZHANG,
    has_interval=False,  # few hits, or few misses, make the whole spread of a share
)
TRANSPORT = Metric("earth_movers_distance", "localization", False, "pixels; by chance that of an even map", CLARK)
CELLS = 32  # along a side, at most, for the earth mover's distance
METRICS = (EXCESS_MASS, EXCESS_RANK, EXCESS_POINTING, TRANSPORT)


def measure(sample: Sample) -> Scores:
    """With the masks of every margin; NaN if the prediction is wrong, since its evidence is then unknown."""
    for margin, masks in [*sample.masks.items()][: 1 if sample.only_first else None]:
        chance = area(masks)
        by_metric = {
            EXCESS_MASS: relevance_mass(sample.maps, masks) - chance,
            EXCESS_RANK: rank_accuracy(sample.maps, masks) - chance,
            EXCESS_POINTING: pointing_game(sample.maps, masks) - chance,
            TRANSPORT: transport(sample.maps, masks),
        }
        for metric, scores in by_metric.items():
            yield metric, f"margin {margin}", np.where(sample.right, scores, np.nan)


def relevance_mass(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Share of the positive attribution inside the mask, 0..1; by chance it is `area`, the score of a map with nothing
    positive, too."""
    positive = np.maximum(maps, 0).astype(np.float64)
    total = positive.sum(axis=(1, 2))
    inside = (positive * masks).sum(axis=(1, 2))
    mass = np.where(total > 0, inside / np.where(total > 0, total, 1), area(masks))
    return _known(mass, masks)


def rank_accuracy(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Share of the K highest pixels inside the mask, where K is the mask's size: 0..1; by chance `area`."""
    n = len(maps)
    flat, inside = maps.reshape(n, -1), masks.reshape(n, -1)
    k = inside.sum(axis=1)
    least = -np.sort(-flat, axis=1)[np.arange(n), np.maximum(k, 1) - 1]  # the K-th highest value
    above, tied = flat > least[:, None], flat == least[:, None]
    taken = (k - above.sum(axis=1)) / tied.sum(axis=1)  # share of the tied ones that still fit
    hits = (above & inside).sum(axis=1) + taken * (tied & inside).sum(axis=1)
    return _known(hits / np.maximum(k, 1), masks)


def pointing_game(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Whether the highest pixel is inside the mask, 0 or 1, between them if several are highest; by chance `area`."""
    highest = maps == maps.max(axis=(1, 2), keepdims=True)
    return _known((highest & masks).sum(axis=(1, 2)) / highest.sum(axis=(1, 2)), masks)


def transport(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Earth mover's distance from the positive attribution to an even spread over the mask, pixels. A map with nothing
    positive counts as even. Of images with a side above `CELLS` pixels, pixels are joined into so many squares a side,
    whose centres stand for them: the time grows with the third power of their number."""
    import ot

    n, side = len(maps), max(maps.shape[1:])
    joined = -(-side // CELLS)  # pixels along a square
    distances = np.full(n, np.nan)
    for number, (values, inside) in enumerate(zip(maps, masks, strict=True)):
        if inside.any():
            mass = np.maximum(values, 0).astype(np.float64)
            mass, even = (_joined(part, joined) for part in (mass if mass.any() else np.ones(mass.shape), inside))
            start, end = (np.argwhere(part).astype(float) for part in (mass, even))
            costs = joined * np.linalg.norm(start[:, None] - end[None], axis=2)
            mass, even = mass[mass > 0], even[even > 0]
            distances[number] = ot.emd2(mass / mass.sum(), even / even.sum(), costs)
    return distances


def _joined(values: np.ndarray, n: int) -> np.ndarray:
    """Sums of (H, W) values over squares of n x n pixels."""
    h, w = values.shape
    padded = np.pad(values.astype(np.float64), ((0, -h % n), (0, -w % n)))
    return padded.reshape(len(padded) // n, n, -1, n).sum(axis=(1, 3))


def area(masks: np.ndarray) -> np.ndarray:
    """Share of the pixels inside each mask (N,)."""
    return masks.mean(axis=(1, 2))


def _known(scores: np.ndarray, masks: np.ndarray) -> np.ndarray:
    return np.where(masks.any(axis=(1, 2)), scores, np.nan)
