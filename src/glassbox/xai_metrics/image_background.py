"""Baselines that are the images' own background: what replaces a pixel there is what it was before.

Deletion, insertion and Integrated Gradients put a baseline in the place of pixels, and measure or attribute the change
(Sturmfels, Lundberg & Lee 2020, Visualizing the Impact of Feature Attribution Baselines). Where a pixel has the
baseline's colour nothing changes, whatever the pixel means to the model. Imports nothing heavy.
"""

from typing import TYPE_CHECKING

import numpy as np

from glassbox.explainers.catalog import TITLES

if TYPE_CHECKING:
    import torch

NEAR = 8 / 255  # largest change of a channel, 0..1, at which a pixel is as it was
MUCH = 0.3  # share of such pixels above which a baseline is called the background
ACTS = {"deletion_auc": "deleted", "insertion_auc": "inserted"}  # metrics whose settings are baselines


def unchanged(images: "torch.Tensor", baseline: str, mean: tuple[float, ...], blur_sigma: float) -> float:
    """Share of the pixels, 0..1, in which no channel changes by more than `NEAR` when a baseline takes their place.

    Args:
        images: (N, H, W, 3) uint8.
        baseline: "black", "mean" or "blur"; see `faithfulness.replaced`.
        mean: colour of the training images, 0..1 a channel.
        blur_sigma: standard deviation of the Gaussian blur, pixels.
    """
    from glassbox.data.batches import to_float
    from glassbox.xai_metrics.faithfulness import replaced

    found = []
    for image in images.split(1):
        x = to_float(image)  # (1, 3, H, W)
        change = (replaced(x, baseline, mean, blur_sigma) - x).abs().amax(dim=1)
        found.append((change <= NEAR).float().mean().item())
    return float(np.mean(found))


def shares(images: "torch.Tensor", mean: tuple[float, ...], blur_sigma: float) -> dict[str, float]:
    """`unchanged` by baseline."""
    return {baseline: unchanged(images, baseline, mean, blur_sigma) for baseline in ("black", "mean", "blur")}


def cause(metric: str, settings: tuple[str, str], shares: dict[str, float]) -> str:
    """Why the order of explainers may depend on which of two baselines a metric takes: one that is the background.
    Empty where neither is, or where the settings of the metric are no baselines.

    Args:
        metric: name.
        settings: the two.
        shares: of `shares`.
    """
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
    """What is to be known of Integrated Gradients' maps whose baseline is the background; empty where it is not.

    Args:
        baseline: of Integrated Gradients.
        shares: of `shares`.
    """
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
