"""Explainers by name."""

from importlib import import_module

import torch

from glassbox.config.explain import Explain
from glassbox.core.seeds import derive
from glassbox.explainers import occlusion
from glassbox.explainers.base import Common, Explainer
from glassbox.explainers.catalog import CONTROL
from glassbox.explainers.controls import Control, noise

ALIKE = 0.1  # share of the common number of forward passes by which an explainer's own may differ from it


def make(settings: Explain, background: torch.Tensor, mean: tuple[float, ...], batch_size: int) -> dict[str, Explainer]:
    """The explainers that the section `explain` names, in its order, then the random control.

    A new explainer is one file in this folder, with a function `make` like those of the others, and one line in
    `catalog.TITLES`; parameters that it has get a section in `config.explain`.

    Args:
        settings: the section.
        background: (B, H, W, 3) uint8 training images in random order; each explainer takes as many as it wants.
        mean: colour of the training images, 0..1 a channel.
        batch_size: images in one forward pass.
    """
    common = Common(settings, background, mean, batch_size)
    made = {name: import_module(f"glassbox.explainers.{name}").make(common) for name in settings.explainers}
    return made | {CONTROL: Control(noise)}


def matched(settings: Explain, forward_passes: int, side: int) -> Explain:
    """The section `explain` with those of its explainers that only ask the model for its answers, each set to at most
    as many forward passes a map, and as near to them as it comes; no other explainer is left. So their maps differ by
    method, and not by what they cost. Those whose own maps cost about as much are left out (see `matched_as_set`), and
    so is an explainer that would be compared with no other.

    Args:
        settings: the section.
        forward_passes: that a map may take.
        side: of the images, pixels.
    """
    ask, same = asking(settings, forward_passes, side), matched_as_set(settings, forward_passes, side)
    changed = {name: getattr(settings, name).model_copy(update=change) for name, (_, change) in ask.items()}
    return settings.model_copy(update=changed | {"explainers": tuple(name for name in ask if name not in same)})


def matched_as_set(settings: Explain, forward_passes: int, side: int) -> tuple[str, ...]:
    """The explainers that only ask the model, and whose maps with their own settings take so many forward passes, give
    or take `ALIKE` of them, or cannot come nearer: their own maps are compared, and none is made again.

    Args:
        settings, forward_passes, side: see `matched`.
    """

    def alike(name: str, own: int, change: dict[str, int]) -> bool:
        near = abs(own - forward_passes) <= ALIKE * forward_passes
        return near or getattr(settings, name) == getattr(settings, name).model_copy(update=change)

    ask = asking(settings, forward_passes, side)
    return tuple(name for name, (own, change) in ask.items() if alike(name, own, change))


def asking(settings: Explain, forward_passes: int, side: int) -> dict[str, tuple[int, dict[str, int]]]:
    """The explainers that only ask the model, in their order, each with the forward passes that it takes as it is set,
    and what is to be changed of its section for at most `forward_passes`; none where there is but one."""
    s = settings
    fewest = 3 * s.superpixels.segments  # coalitions
    background = max(1, min(s.kernel_shap.background, (forward_passes - 1) // fewest))
    coalitions = (forward_passes - 1) // background
    window, stride = (min(value, side) for value in (s.occlusion.window, s.occlusion.stride))
    strides = (n for n in range(1, window) if occlusion.forward_passes(window, n, side) <= forward_passes)
    known = {
        "lime": (s.lime.samples, {"samples": forward_passes}),
        "kernel_shap": (
            1 + s.kernel_shap.coalitions * s.kernel_shap.background,
            {"background": background, "coalitions": coalitions},
        ),
        "partition_shap": (s.partition_shap.evaluations + 2, {"evaluations": forward_passes - 2}),
        "occlusion": (occlusion.forward_passes(window, stride, side), {"stride": next(strides, window)}),
    }
    named = {name: known[name] for name in s.explainers if name in known}
    return named if len(named) > 1 else {}


def n_background(settings: Explain) -> int:
    """How many background images the explainers need at most."""
    return max(settings.kernel_shap.background, settings.gradient_shap.background)


def draw_background(images: torch.Tensor, n: int, seed: int) -> torch.Tensor:
    """At most `n` of `images` in random order."""
    generator = torch.Generator().manual_seed(derive(seed, "explain", "background"))
    return images[torch.randperm(len(images), generator=generator)[:n]]
