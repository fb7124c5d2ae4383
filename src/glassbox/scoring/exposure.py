"""Explanations of a classifier that was trained with a shortcut, beside those of one that was not."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from glassbox.config.explain import Explain
from glassbox.config.score import Score
from glassbox.core.seeds import derive
from glassbox.data.store import Split
from glassbox.explainers.base import Request
from glassbox.explainers.catalog import CONTROLS
from glassbox.explainers.controls import all_controls
from glassbox.models import Classifier
from glassbox.provenance.resume import Keep, unkept
from glassbox.scoring import shortcut
from glassbox.scoring.measurement import explain_all, own_explainers
from glassbox.scoring.preparation import draw


@dataclass(frozen=True)
class Exposed:
    """What explainers make of a watermark.

    Attributes:
        images: (N, H, W, 3) uint8, all of them with the watermark.
        masks: (N, H, W) bool, where it lies.
        maps: (N, H, W) of the network that learnt it and of the one that did not, by explainer and control.
        contrast: of `shortcut.table`.
    """

    images: np.ndarray
    masks: np.ndarray
    maps: dict[str, tuple[np.ndarray, ...]]
    contrast: pd.DataFrame


def expose(
    classifier: Classifier,
    control: Classifier,
    test: Split,
    mean: tuple[float, ...],
    background: torch.Tensor,
    explain: Explain,
    settings: Score,
    batch_size: int,
    seed: int,
    keep: Keep = unkept,
    progress: Callable[[int], object] = int,
) -> Exposed:
    """Maps of images with a watermark, for the class that it stands for, of the network that learnt it as a shortcut
    and of one for which it was noise; see `shortcut`.

    Args:
        classifier: the network with the shortcut.
        control: the other network.
        test: with the interventions "unmarked" and "marked".
        mean, background, explain, settings, batch_size, seed, keep: see `prepare`.
        progress: called with the number of maps made since the last call; `steps_to_expose` says how many there are.
    """
    target = shortcut.target_of(test)
    of_class = np.flatnonzero(test.labels.numpy() == target)
    rows = of_class[draw(np.zeros(len(of_class)), settings.images, seed, by_class=False)]
    seeds = tuple(derive(seed, "score", "image", int(row)) for row in rows)
    request = Request(test.changed[shortcut.MARKED][rows], torch.full((len(rows),), target), seeds)
    controls = all_controls(explain.superpixels, request.images.shape[1])
    made = own_explainers(explain, background, mean, batch_size) | controls
    maps = {
        name: tuple(
            explain_all(explainer, model, request, batch_size, keep, progress).maps for model in (classifier, control)
        )
        for name, explainer in made.items()
    }
    masks = shortcut.masks_of(test)[rows]
    return Exposed(request.images.numpy(), masks, maps, shortcut.table(maps, masks))


def steps_to_expose(explain: Explain, settings: Score, test: Split) -> int:
    """How many steps `expose` reports."""
    n = min(settings.images, int((test.labels == shortcut.target_of(test)).sum()))
    return 2 * n * (len(explain.explainers) + len(CONTROLS))
