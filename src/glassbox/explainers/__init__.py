"""Explainers by name."""

from importlib import import_module

import torch

from glassbox.config import Explain
from glassbox.explainers import occlusion
from glassbox.explainers.base import Attribution, Common, Explainer, Request
from glassbox.explainers.controls import Control, all_controls, noise
from glassbox.names import CONTROL
from glassbox.seeds import derive

__all__ = [
    "Attribution",
    "Common",
    "Explainer",
    "Request",
    "all_controls",
    "draw_background",
    "make",
    "matched",
    "n_background",
]


def make(settings: Explain, background: torch.Tensor, mean: tuple[float, ...], batch_size: int) -> dict[str, Explainer]:
    """The explainers that the section `explain` names, in its order, then the random control.

    A new explainer is one file in this folder, with a function `make` like those of the others, and one line in
    `names.TITLES`; parameters that it has get a section of `explain` in `config`.

    Args:
        settings: the section.
        background: (B, H, W, 3) uint8 training images in random order; each explainer takes as many as it wants.
        mean: colour of the training images, 0..1 a channel.
        batch_size: images in one forward pass.
    """
    common = Common(settings, background, mean, batch_size)
    made = {name: import_module(f"{__name__}.{name}").make(common) for name in settings.explainers}
    return made | {CONTROL: Control(noise)}


def matched(settings: Explain, evaluations: int, side: int) -> Explain:
    """The section `explain` with those of its explainers that only ask the model for its answers, each set to at most
    as many evaluations a map, and as near to them as it comes; no other explainer is left.

    Args:
        settings: the section.
        evaluations: images that may go forward through the model for a map.
        side: of the images, pixels.
    """
    s = settings
    fewest = 3 * s.superpixels.segments  # coalitions
    background = max(1, min(s.kernel_shap.background, (evaluations - 1) // fewest))
    coalitions = (evaluations - 1) // background
    window = min(s.occlusion.window, side)
    stride = next((n for n in range(1, window) if occlusion.evaluations(window, n, side) <= evaluations), window)
    changes = {
        "lime": {"samples": evaluations},
        "kernel_shap": {"background": background, "coalitions": coalitions, "classes": 0},
        "partition_shap": {"evaluations": evaluations - 2},
        "occlusion": {"stride": stride},
    }
    return s.model_copy(
        update={name: getattr(s, name).model_copy(update=change) for name, change in changes.items()}
        | {"explainers": tuple(name for name in s.explainers if name in changes)}
    )


def n_background(settings: Explain) -> int:
    """How many background images the explainers need at most."""
    return max(settings.kernel_shap.background, settings.gradient_shap.background)


def draw_background(images: torch.Tensor, n: int, seed: int) -> torch.Tensor:
    """At most `n` of `images` in random order."""
    generator = torch.Generator().manual_seed(derive(seed, "explain", "background"))
    return images[torch.randperm(len(images), generator=generator)[:n]]
