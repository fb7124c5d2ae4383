"""How LIME's explanation of an image changes with the number of samples and with the seed."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from glassbox.config.explain import Lime as Settings
from glassbox.config.explain import Superpixels
from glassbox.core.seeds import derive
from glassbox.explainers.base import Request, in_parts, join
from glassbox.explainers.lime import Lime
from glassbox.explainers.superpixels import segment
from glassbox.explaining.selection import Pick
from glassbox.models import Classifier
from glassbox.provenance.resume import Keep, unkept
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
    """What several runs of LIME said of the same images.

    Attributes:
        table: a row for each image and number of samples: image (row of the test split), regions, samples, seeds,
            rank_agreement and top_overlap between the seeds, top_overlap_by_chance, agreement_with_most (rank
            correlation of a seed's weights with the mean weights of the other runs with the most samples, averaged
            over seeds), local_r2 (mean over seeds). All but top_overlap_by_chance are NaN for an image near which the
            class's probability does not vary: it has no weights that could agree.
        maps: (images, numbers of samples, seeds, H, W) float32, signed weights.
    """

    table: pd.DataFrame
    maps: np.ndarray


def choose(picks: list[Pick], n: int) -> list[Pick]:
    """At most `n` of the picked images, spread over the groups."""
    places = np.linspace(0, len(picks) - 1, min(n, len(picks))).round().astype(int)
    return [picks[place] for place in places]


def runs(settings: Settings) -> int:
    """How many explanations of an image are made."""
    return len(settings.stability.samples) * settings.stability.seeds


def measure(
    classifier: Classifier,
    picks: list[Pick],
    images: torch.Tensor,
    settings: Settings,
    superpixels: Superpixels,
    batch_size: int,
    seed: int,
    progress: Callable[[int], object] = int,
    keep: Keep = unkept,
) -> Stability:
    """Explain the predicted class of every picked image again and again.

    Args:
        classifier: what is explained.
        picks: images of the test split.
        images: (N, H, W, 3) uint8, the test split.
        settings: of LIME; `stability` says how many samples and seeds.
        superpixels: regions, the same in every run.
        batch_size: images in one forward pass.
        seed: of the study.
        progress: called with the number of explanations made since the last call.
        keep: takes explanations as soon as they are made.
    """
    how, rows, all_maps = settings.stability, [], []
    for pick in picks:
        image = images[pick.row]
        regions = segment(image.numpy(), superpixels)
        _, first = np.unique(regions, return_index=True)  # a pixel of each region
        same, targets = image.expand(how.seeds, *image.shape), torch.full((how.seeds,), pick.targets[0])
        made = []
        for samples in how.samples:
            # Seeds of its own for each number of samples: a short run must not be the beginning of a longer one.
            seeds = tuple(derive(seed, "explain", "stability", pick.row, samples, run) for run in range(how.seeds))
            lime = Lime(samples, superpixels, batch_size)
            request = Request(same, targets, seeds)
            made.append(join([*in_parts(lime, classifier, request, batch_size, keep, "stability")]))
            progress(how.seeds)
        weights = [attribution.maps.reshape(how.seeds, -1)[:, first] for attribution in made]
        for samples, own, attribution in zip(how.samples, weights, made, strict=True):
            rows.append(
                {
                    "image": pick.row,
                    "regions": len(first),
                    "samples": samples,
                    "seeds": how.seeds,
                    RANK_AGREEMENT.name: rank_agreement(own),
                    TOP_OVERLAP.name: top_overlap(own, settings.regions),
                    "top_overlap_by_chance": overlap_by_chance(len(first), settings.regions),
                    "agreement_with_most": agreement_with(own, weights[-1]),
                    "local_r2": float(attribution.details["local_r2"].mean()),
                }
            )
        all_maps.append(np.stack([attribution.maps for attribution in made]))
    return Stability(pd.DataFrame(rows), np.stack(all_maps))
