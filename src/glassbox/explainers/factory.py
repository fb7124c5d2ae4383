"""Explainers by name."""

from collections.abc import Iterable
from importlib import import_module

import torch

from glassbox.config.explain import Explain
from glassbox.core.errors import UserError
from glassbox.core.seeds import derive
from glassbox.core.text import listed
from glassbox.explainers import occlusion
from glassbox.explainers.base import Explainer, Setup
from glassbox.explainers.catalog import BLACK_BOX
from glassbox.models import Classifier

ALIKE = 0.1  # share of the common number of forward passes by which an explainer's own may differ from it


def make(setup: Setup) -> dict[str, Explainer]:
    """The explainers that the section `explain` names, in its order.

    A new explainer is one file in this folder, with a function `make` like those of the others, and one line in
    `catalog.TITLES`; its own parameters get a section in `config.explain`.

    Raises:
        UserError: one needs gradients, which the classifier does not have.
    """
    if not setup.classifier.has_gradients:
        check_black_box(setup.settings.explainers)
    return {name: import_module(f"glassbox.explainers.{name}").make(setup) for name in setup.settings.explainers}


def check_black_box(names: Iterable[str], key: str = "explain.explainers") -> None:
    """Check that explainers, which `key` names, need nothing but the model's answers.

    Raises:
        UserError: one needs gradients.
    """
    needing = [name for name in names if name not in BLACK_BOX]
    if needing:
        verb, them = ("explains", "it") if len(needing) == 1 else ("explain", "them")
        raise UserError(
            f"{listed(needing)} {verb} by gradients, and an ONNX model only answers: take {them} out of "
            f"{key}, which may have {', '.join(BLACK_BOX)}"
        )


def setup(
    *,
    classifier: Classifier,
    settings: Explain,
    train: torch.Tensor,
    mean: tuple[float, ...],
    batch_size: int,
    seed: int,
) -> Setup:
    """A `Setup` with as many random training images (N, H, W, 3) uint8 as any explainer compares with."""
    generator = torch.Generator().manual_seed(derive(seed, "explain", "background"))
    order = torch.randperm(len(train), generator=generator)
    most = max(settings.kernel_shap.background, settings.gradient_shap.background)
    return Setup(classifier, settings, train[order[:most]], mean, batch_size, seed)


def matched(settings: Explain, forward_passes: int, side: int) -> Explain:
    """The section `explain` with only those explainers that need nothing but the model's output, each set to at most as
    many forward passes a map, and as near to them as it comes: their maps differ by method, and not by cost. Left out
    is an explainer whose own maps cost about as much (see `matched_as_set`), or that would be compared with no other.
    Images have `side` x `side` pixels.
    """
    changes, as_set = black_box(settings, forward_passes, side), matched_as_set(settings, forward_passes, side)
    sections = {name: getattr(settings, name).model_copy(update=change) for name, (_, change) in changes.items()}
    names = tuple(name for name in changes if name not in as_set)
    return settings.model_copy(update=sections | {"explainers": names})


def matched_as_set(settings: Explain, forward_passes: int, side: int) -> tuple[str, ...]:
    """The explainers that need nothing but the model's output, and whose maps with their own settings take so many
    forward passes, give or take `ALIKE` of them, or cannot come nearer: their own maps are compared."""
    names = []
    for name, (passes, change) in black_box(settings, forward_passes, side).items():
        section = getattr(settings, name)
        near = abs(passes - forward_passes) <= ALIKE * forward_passes
        if near or section == section.model_copy(update=change):
            names.append(name)
    return tuple(names)


def black_box(settings: Explain, forward_passes: int, side: int) -> dict[str, tuple[int, dict[str, int]]]:
    """The explainers that need nothing but the model's output, in their order, each with the forward passes that it
    takes as it is set, and the changes of its section for at most `forward_passes`; none where there is but one."""
    s = settings
    fewest = 3 * s.superpixels.segments  # coalitions
    k, left = s.kernel_shap, forward_passes - 1
    draws = k.draws(k.background)
    background = max(1, min(k.background, left - fewest if draws else left // fewest))
    coalitions = left if draws else left // background
    window, stride = (min(value, side) for value in (s.occlusion.window, s.occlusion.stride))
    strides = (n for n in range(1, window) if occlusion.forward_passes(window, n, side) <= forward_passes)
    known = {
        "lime": (s.lime.samples, {"samples": forward_passes}),
        "kernel_shap": (
            1 + k.evaluations(k.background),
            {"background": background, "coalitions": coalitions},
        ),
        "partition_shap": (s.partition_shap.evaluations + 2, {"evaluations": forward_passes - 2}),
        "occlusion": (occlusion.forward_passes(window, stride, side), {"stride": next(strides, window)}),
        "rise": (s.rise.masks, {"masks": forward_passes}),
    }
    named = {name: known[name] for name in s.explainers if name in known}
    return named if len(named) > 1 else {}
