"""Faithfulness correlation: does hiding more attribution lower the probability more?"""

import numpy as np
import torch

from glassbox.data.batches import to_float
from glassbox.execution import compute
from glassbox.explainers.base import Request
from glassbox.models import Classifier, probabilities
from glassbox.xai_metrics.base import Hidden, Metric, Sample, Scores

BHATT = (
    "Bhatt, Weller & Moura 2020, Evaluating and Aggregating Feature-based Model Explanations, equation 4; of regions"
)
CORRELATION = Metric("faithfulness_correlation", "faithfulness", True, "Pearson correlation, -1..1", BHATT)
METRICS = (CORRELATION,)


def measure(sample: Sample) -> Scores:
    """With every share of hidden cells."""
    for share, hidden in sample.hidden.items():
        yield CORRELATION, f"{share:g} hidden", faithfulness_correlation(sample.maps, hidden)


def grid(h: int, w: int, side: int) -> np.ndarray:
    """Labels (h, w) of a grid of at most `side` x `side` cells, row by row, as equal as whole pixels allow."""
    rows, columns = (np.arange(n) * min(side, n) // n for n in (h, w))
    return rows[:, None] * min(side, w) + columns[None]


def hide(
    classifier: Classifier,
    request: Request,
    *,
    side: int,
    share: float,
    draws: int,
    colour: tuple[float, ...],
    batch_size: int,
) -> Hidden:
    """Hide random sets of cells behind a colour.

    Args:
        request: N images, targets, and seeds of the sets.
        side: cells along a side of the grid.
        share: share of the cells in a set, 0..1; a set has at least one.
        draws: sets for each image.
        colour: that of hidden cells, 0..1 a channel.
    """
    n, h, w, _ = request.images.shape
    cells = grid(h, w, side)
    regions, flat = int(cells.max()) + 1, torch.tensor(colour, dtype=torch.float32).view(3, 1, 1)
    k = min(max(1, round(share * regions)), regions)
    sets, drops = np.zeros((n, draws, regions), bool), np.zeros((n, draws))
    for row, image in enumerate(to_float(request.images)):
        order = np.random.default_rng(request.seeds[row]).random((draws, regions)).argsort(axis=1)
        np.put_along_axis(sets[row], order[:, :k], True, axis=1)
        covered = torch.from_numpy(sets[row][:, cells])  # (D, H, W)
        mixed = torch.cat([image[None], torch.where(covered[:, None], flat, image)])
        p = probabilities(classifier, mixed, batch_size)[:, int(request.targets[row])].numpy()
        drops[row] = p[0] - (p[1:] if compute.varies(p[1:, None], torch.float32)[0] else p[1:].mean())
    return Hidden(cells, sets, drops)


def faithfulness_correlation(maps: np.ndarray, hidden: Hidden) -> np.ndarray:
    """Correlation over the sets between the hidden attribution and the fall of the probability (N,).

    NaN if the probability of the image falls equally for all sets, whatever the map. Otherwise 0 for a map whose
    attribution is equal in all sets.
    """
    sums = np.stack([np.bincount(hidden.cells.ravel(), weights=values.ravel()) for values in maps.astype(np.float64)])
    covered = np.einsum("nds,ns->nd", hidden.sets, sums)  # (N, D)
    a, b = (values - values.mean(axis=1, keepdims=True) for values in (covered, hidden.drops))
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    ranks = (np.ptp(covered, axis=1) > 1e-12 * np.abs(covered).max(axis=1)) & (lengths > 0)
    correlations = np.where(ranks, (a * b).sum(axis=1) / np.where(lengths > 0, lengths, 1), 0.0)
    return np.where(np.ptp(hidden.drops, axis=1) > 0, correlations, np.nan)
