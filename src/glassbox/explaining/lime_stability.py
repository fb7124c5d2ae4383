"""How LIME's explanation of an image changes with the number of samples and with the seed."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from glassbox.config.explain import Explain
from glassbox.config.explain import Lime as Settings
from glassbox.core.seeds import derive
from glassbox.explainers.base import Request, Setup
from glassbox.explainers.lime import Lime
from glassbox.explainers.running import ALONE, Bookkeeping, attribute
from glassbox.explainers.superpixels import segment
from glassbox.explaining.selection import Pick
from glassbox.xai_metrics.stability import (
    RANK_AGREEMENT,
    TOP_OVERLAP,
    agreement_with,
    overlap_by_chance,
    rank_agreement,
    top_overlap,
)


@dataclass(frozen=True)
class Stability:
    """How far several runs of LIME agree on the same images.

    The table has a row for each image and number of samples: image (row of the test split), regions, samples, seeds,
    rank_agreement and top_overlap between the seeds, top_overlap_by_chance, agreement_with_most (rank correlation of a
    seed's weights with the mean weights of the other runs with the most samples, averaged over seeds), local_r2 (mean
    over seeds). All but top_overlap_by_chance are NaN for an image near which the class's probability does not vary: it
    has no weights that could agree.
    """

    table: pd.DataFrame
    maps: np.ndarray  # (images, numbers of samples, seeds, H, W) float32, signed weights


def choose(picks: list[Pick], settings: Explain) -> list[Pick]:
    """At most `lime.stability.images` of the picked images, spread over the groups; none without LIME."""
    n = min(settings.lime.stability.images, len(picks)) if "lime" in settings.explainers else 0
    return [picks[place] for place in np.linspace(0, len(picks) - 1, n).round().astype(int)]


def runs(settings: Settings) -> int:
    """How many explanations of an image are made."""
    return len(settings.stability.samples) * settings.stability.seeds


def measure(setup: Setup, picks: list[Pick], images: torch.Tensor, books: Bookkeeping = ALONE) -> Stability | None:
    """Explain the predicted class of every picked image with each number of samples and seed of `lime.stability`; None
    where no image is picked. `images` is the test split (N, H, W, 3) uint8; a step is an explanation."""
    lime, rows, all_maps = setup.settings.lime, [], []
    how = lime.stability
    for pick in picks:
        image = images[pick.row]
        _, first = np.unique(segment(image.numpy(), setup.settings.superpixels), return_index=True)  # a pixel of each
        same, targets = image.expand(how.seeds, *image.shape), torch.full((how.seeds,), pick.targets[0])
        attributions = []
        for samples in how.samples:
            # Seeds of its own for each number of samples: a short run must not be the beginning of a longer one.
            seeds = tuple(
                derive(setup.seed, "explain", "stability", pick.row, samples, run) for run in range(how.seeds)
            )
            explainer = Lime(samples, setup.settings.superpixels, setup.batch_size)
            request = Request(same, targets, seeds)
            attributions.append(attribute(explainer, setup.classifier, request, books, name="stability"))
        weights = [attribution.maps.reshape(how.seeds, -1)[:, first] for attribution in attributions]
        for samples, by_seed, attribution in zip(how.samples, weights, attributions, strict=True):
            rows.append(
                {
                    "image": pick.row,
                    "regions": len(first),
                    "samples": samples,
                    "seeds": how.seeds,
                    RANK_AGREEMENT.name: rank_agreement(by_seed),
                    TOP_OVERLAP.name: top_overlap(by_seed, lime.regions),
                    "top_overlap_by_chance": overlap_by_chance(len(first), lime.regions),
                    "agreement_with_most": agreement_with(by_seed, weights[-1]),
                    "local_r2": float(attribution.details["local_r2"].mean()),
                }
            )
        all_maps.append(np.stack([attribution.maps for attribution in attributions]))
    return Stability(pd.DataFrame(rows), np.stack(all_maps)) if picks else None


def tables(stability: Stability | None) -> dict[str, pd.DataFrame]:
    """The table by name, if there is one."""
    return {"lime_stability": stability.table} if stability else {}
