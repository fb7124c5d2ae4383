"""Baselines that equal the images' own background, so that replacing a pixel there changes nothing.

Deletion, insertion and Integrated Gradients replace pixels by a baseline, and measure or attribute the change
(Sturmfels, Lundberg & Lee 2020, Visualizing the Impact of Feature Attribution Baselines). A pixel of the baseline's
colour never changes, however important it is to the model. Imports nothing heavy.
"""

from typing import TYPE_CHECKING

import numpy as np

from glassbox.explainers.catalog import TITLES

if TYPE_CHECKING:
    import torch

NEAR = 8 / 255  # largest change of a channel, 0..1, that counts as no change
MUCH = 0.3  # share of unchanged pixels above which the baseline counts as the background
ACTS = {"deletion_auc": "deleted", "insertion_auc": "inserted"}  # metrics whose settings are baselines


def shares(images: "torch.Tensor", mean: tuple[float, ...], blur_sigma: float) -> dict[str, float]:
    """Share of the pixels of images (N, H, W, 3) uint8 in which no channel changes by more than `NEAR` when a baseline
    replaces them, by baseline; for the other arguments see `faithfulness.replaced`."""
    from glassbox.data.batches import to_float
    from glassbox.xai_metrics.faithfulness import replaced

    by_image: dict[str, list[float]] = {"black": [], "mean": [], "blur": []}
    for image in images.split(1):
        x = to_float(image)  # (1, 3, H, W)
        for baseline, values in by_image.items():
            change = (replaced(x, baseline, mean, blur_sigma) - x).abs().amax(dim=1)
            values.append((change <= NEAR).float().mean().item())
    return {baseline: float(np.mean(values)) for baseline, values in by_image.items()}


def cause(metric: str, settings: tuple[str, str], shares: dict[str, float]) -> str:
    """The likely cause if explainers rank differently in two settings of a metric: one baseline is the background.
    Empty if neither is, or if the settings are no baselines. `shares` are those of the function `shares`."""
    if metric not in ACTS or not set(settings) <= set(shares):
        return ""
    baseline, other = sorted(settings, key=shares.get, reverse=True)
    if shares[baseline] <= MUCH:
        return ""
    return (
        f" The likely cause: with {baseline} {_percent(shares[baseline])} of the pixels hardly change when they are "
        f"{ACTS[metric]}, with {other} {_percent(shares[other])}."
    )


def note(baseline: str, shares: dict[str, float]) -> str:
    """A warning if the baseline of Integrated Gradients is the background, else empty. `shares` are those of the
    function `shares`."""
    if shares.get(baseline, 0) <= MUCH:
        return ""
    colour = "black" if baseline == "black" else "the mean colour of the training images"
    return (
        f"The baseline of {TITLES['integrated_gradients']} is {colour}, and {_percent(shares[baseline])} of the pixels "
        "of the scored images have that colour, or nearly. It gives them no attribution, or next to none, by "
        "construction, whatever they mean to the model."
    )


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
