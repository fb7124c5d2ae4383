"""Explanations of a classifier that was trained with a shortcut, beside those of one that was not."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from glassbox.config.explain import Explain
from glassbox.config.score import Score
from glassbox.core.seeds import derive
from glassbox.data import watermark
from glassbox.data.store import Split
from glassbox.explainers import factory
from glassbox.explainers.base import Request, Setup
from glassbox.explainers.catalog import CONTROLS
from glassbox.explainers.controls import all_controls
from glassbox.explainers.running import ALONE, Bookkeeping, attribute
from glassbox.models import Classifier
from glassbox.scoring import shortcut
from glassbox.scoring.preparation import draw


@dataclass(frozen=True)
class Exposed:
    """Maps of images with a watermark."""

    images: np.ndarray  # (N, H, W, 3) uint8, all of them with the watermark
    masks: np.ndarray  # (N, H, W) bool, where it lies
    # (N, H, W) of the network that learnt it and of the one that did not, by explainer and control.
    maps: dict[str, tuple[np.ndarray, ...]]
    contrast: pd.DataFrame  # see `shortcut.table`


def expose(setup: Setup, settings: Score, *, control: Classifier, test: Split, books: Bookkeeping = ALONE) -> Exposed:
    """Maps of images with a watermark, for the class that it stands for, of the network that learnt it as a shortcut
    and of the `control`, for which it was noise; see `shortcut`. `steps` counts the steps."""
    target = watermark.target_of(test)
    of_class = np.flatnonzero(test.labels.numpy() == target)
    rows = of_class[draw(np.zeros(len(of_class)), settings.images, setup.seed, by_class=False)]
    seeds = tuple(derive(setup.seed, "score", "image", int(row)) for row in rows)
    request = Request(test.changed[watermark.MARKED][rows], torch.full((len(rows),), target), seeds)
    controls = all_controls(setup.settings.superpixels, request.images.shape[1])
    maps = {
        name: tuple(attribute(explainer, model, request, books).maps for model in (setup.classifier, control))
        for name, explainer in (factory.make(setup) | controls).items()
    }
    masks = watermark.masks_of(test)[rows]
    return Exposed(request.images.numpy(), masks, maps, shortcut.table(maps, masks))


def steps(explain: Explain, settings: Score, test: Split) -> int:
    """How many steps `expose` reports."""
    n = min(settings.images, int((test.labels == watermark.target_of(test)).sum()))
    return 2 * n * (len(explain.explainers) + len(CONTROLS))
