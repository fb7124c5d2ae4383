"""Localization: does what speaks for a class lie where the object is?

Every score takes maps (N, H, W) and masks (N, H, W) bool and gives (N,), NaN where the mask is empty. Pixels that tie
count with the share that an order drawn at random would give them, so that a map of one value scores what chance does.
"""

from dataclasses import replace

import numpy as np

from glassbox.xai_metrics.base import Metric, Sample, Scores

ARRAS = "Arras, Osman & Samek 2022, CLEVR-XAI"
RELEVANCE_MASS = Metric(
    "relevance_mass",
    "localization",
    True,
    "share of the positive attribution, 0..1; by chance the mask's share",
    f"{ARRAS}: relevance mass accuracy",
)
RANK_ACCURACY = Metric(
    "rank_accuracy",
    "localization",
    True,
    "share of the mask's pixels, 0..1; by chance the mask's share",
    f"{ARRAS}: relevance rank accuracy",
)
POINTING_GAME = Metric(
    "pointing_game",
    "localization",
    True,
    "share of images, 0..1; by chance the mask's share",
    "Zhang et al. 2018, Top-Down Neural Attention by Excitation Backprop, without a margin around the mask",
    has_interval=False,  # few hits, or few misses, make the whole spread of a share
)
EXCESS_MASS, EXCESS_RANK, EXCESS_POINTING = (
    replace(metric, name=f"excess_{metric.name}", unit=f"{metric.unit.split(',')[0]} above chance")
    for metric in (RELEVANCE_MASS, RANK_ACCURACY, POINTING_GAME)
)
TRANSPORT = Metric(
    "earth_movers_distance",
    "localization",
    False,
    "pixels; by chance that of an even map",
    "Clark, Budding & Haufe 2024, XAI-TRIS: non-linear image benchmarks to quantify false positive post-hoc "
    "attribution of feature importance: earth mover's distance",
)
METRICS = (EXCESS_MASS, EXCESS_RANK, EXCESS_POINTING, TRANSPORT)


def measure(sample: Sample) -> Scores:
    """With the masks of every margin; of images whose prediction is wrong nobody knows where its evidence is."""
    for margin, masks in [*sample.masks.items()][: 1 if sample.only_first else None]:
        chance = area(masks)
        found = {
            EXCESS_MASS: relevance_mass(sample.maps, masks) - chance,
            EXCESS_RANK: rank_accuracy(sample.maps, masks) - chance,
            EXCESS_POINTING: pointing_game(sample.maps, masks) - chance,
            TRANSPORT: transport(sample.maps, masks),
        }
        for metric, scores in found.items():
            yield metric, f"margin {margin}", np.where(sample.right, scores, np.nan)


def relevance_mass(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Share of the positive attribution that lies inside the mask, 0..1; by chance it is `area`, which is also what
    counts for a map with nothing positive: it points nowhere."""
    positive = np.maximum(maps, 0).astype(np.float64)
    total = positive.sum(axis=(1, 2))
    inside = (positive * masks).sum(axis=(1, 2))
    mass = np.where(total > 0, inside / np.where(total > 0, total, 1), area(masks))
    return _known(mass, masks)


def rank_accuracy(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Of the K highest pixels, K being those of the mask, the share that lies inside it, 0..1; by chance `area`."""
    n = len(maps)
    flat, inside = maps.reshape(n, -1), masks.reshape(n, -1)
    k = inside.sum(axis=1)
    least = -np.sort(-flat, axis=1)[np.arange(n), np.maximum(k, 1) - 1]  # the K-th highest value
    above, tied = flat > least[:, None], flat == least[:, None]
    taken = (k - above.sum(axis=1)) / tied.sum(axis=1)  # share of the tied ones that still fit
    hits = (above & inside).sum(axis=1) + taken * (tied & inside).sum(axis=1)
    return _known(hits / np.maximum(k, 1), masks)


def pointing_game(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Whether the highest pixel lies inside the mask, 0 or 1, between them where several are highest; by chance
    `area`."""
    highest = maps == maps.max(axis=(1, 2), keepdims=True)
    return _known((highest & masks).sum(axis=(1, 2)) / highest.sum(axis=(1, 2)), masks)


def transport(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Earth mover's distance from the positive attribution to an even spread over the mask, pixels: how far a unit of
    mass travels on average when it travels as little as it can. A map with nothing positive counts as even."""
    import ot

    n, h, w = maps.shape
    rows, columns = np.divmod(np.arange(h * w), w)
    places = np.stack([rows, columns], axis=1).astype(float)  # (H*W, 2)
    distances = np.full(n, np.nan)
    for number, (values, inside) in enumerate(zip(maps.reshape(n, -1), masks.reshape(n, -1), strict=True)):
        if inside.any():
            mass = np.maximum(values, 0).astype(np.float64)
            mass = mass if mass.any() else np.ones(h * w)
            start, end = np.flatnonzero(mass), np.flatnonzero(inside)
            costs = np.linalg.norm(places[start, None] - places[None, end], axis=2)
            distances[number] = ot.emd2(mass[start] / mass[start].sum(), np.full(len(end), 1 / len(end)), costs)
    return distances


def area(masks: np.ndarray) -> np.ndarray:
    """Share of the pixels inside each mask (N,)."""
    return masks.mean(axis=(1, 2))


def _known(scores: np.ndarray, masks: np.ndarray) -> np.ndarray:
    return np.where(masks.any(axis=(1, 2)), scores, np.nan)
