"""What the functions of the public API are given, checked and in the terms of the library."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from glassbox import models
from glassbox.config.explain import Explain
from glassbox.config.loading import load
from glassbox.config.messages import checked
from glassbox.config.score import Score
from glassbox.core.errors import UserError
from glassbox.core.seeds import derive
from glassbox.explainers.base import Attribution, Request, Setup
from glassbox.models import Classifier
from glassbox.results import Explanation
from glassbox.scoring import measurement
from glassbox.scoring.preparation import Ground
from glassbox.xai_metrics import correlation

DEFAULTS = Path(__file__).with_name("defaults.yaml")  # the sections `explain` and `score` of the default study
Images = np.ndarray | torch.Tensor


def mean_colour(images: torch.Tensor) -> tuple[float, ...]:
    return tuple((images.double().mean(dim=(0, 1, 2)) / 255).tolist())


def pixels_of(images: Images, name: str) -> torch.Tensor:
    pixels = torch.as_tensor(images)
    if pixels.dtype != torch.uint8 or pixels.dim() != 4 or pixels.shape[3] != 3 or not len(pixels):
        kind = str(pixels.dtype).removeprefix("torch.")
        raise UserError(f"{name} are {tuple(pixels.shape)} {kind}, but must be (N, H, W, 3) uint8")
    return pixels


def request_for(
    classifier: Classifier, images: Images, targets: Sequence[int] | None, seed: int, batch_size: int
) -> tuple[Request, np.ndarray]:
    """The request, and the probabilities (N, K) of the images' classes."""
    pixels = pixels_of(images, "images")
    probabilities = models.probabilities(classifier, pixels, batch_size)
    labels = probabilities.argmax(dim=1)
    if targets is not None:
        labels = classes_of("targets", targets, pixels, probabilities.shape[1])
    seeds = tuple(derive(seed, "image", number) for number in range(len(pixels)))
    return Request(pixels, labels, seeds), probabilities.numpy()


def classes_of(name: str, values: Sequence[int], pixels: torch.Tensor, n_classes: int) -> torch.Tensor:
    labels = torch.as_tensor(values, dtype=torch.int64)
    if labels.shape != pixels.shape[:1]:
        raise UserError(f"{name} are {tuple(labels.shape)}, but there are {len(pixels)} images")
    if labels.min() < 0 or labels.max() >= n_classes:
        raise UserError(f"{name} are {labels.tolist()}, but must be from 0 to {n_classes - 1}")
    return labels


def explain_settings(explainers: Sequence[str], changes: Mapping[str, Any]) -> Explain:
    """The default study's section `explain` with other explainers and these changes."""
    tree = load(Explain, file=DEFAULTS)[0].model_dump(mode="json") | {"explainers": [*explainers]}
    for key, value in changes.items():
        if not value and key not in tree:  # not every explainer has settings
            continue
        both = isinstance(value, Mapping) and isinstance(tree.get(key, {}), Mapping)
        tree[key] = {**tree.get(key, {}), **value} if both else value
    return checked(Explain, tree, "settings")


def setup_for(
    classifier: Classifier,
    settings: Explain,
    images: torch.Tensor,
    background: Images | None,
    seed: int,
    batch_size: int,
) -> Setup:
    backdrop = images[:0] if background is None else pixels_of(background, "background")
    for name in settings.explainers:
        needed = getattr(getattr(settings, name, None), "background", 0)  # images that the explainer compares with
        if len(backdrop) < needed:
            raise UserError(f"{name} needs a background of {needed} images, and {len(backdrop) or 'none'} are given")
    mean = mean_colour(images if background is None else backdrop)
    return Setup(classifier, settings, backdrop, mean, batch_size, seed)


def class_names(classifier: Classifier, n_classes: int) -> tuple[str, ...]:
    """Names of the classes; their numbers where the classifier has none."""
    return classifier.classes or tuple(map(str, range(n_classes)))


def explanation_of(
    explainer: str, attribution: Attribution, classifier: Classifier, request: Request, probabilities: np.ndarray
) -> Explanation:
    return Explanation(
        **vars(attribution),
        explainer=explainer,
        images=request.images.cpu().numpy(),
        targets=request.targets.cpu().numpy(),
        probabilities=probabilities,
        classes=class_names(classifier, probabilities.shape[1]),
    )


def check_shape(name: str, array: np.ndarray, request: Request) -> None:
    shape = tuple(request.images.shape[:3])
    if array.shape != shape:
        raise UserError(f"{name} have the shape {array.shape}, but the images require {shape}")


def metrics_of(metrics: Sequence[str] | None, masks: np.ndarray | None, request: Request) -> tuple[str, ...]:
    """Names of the chosen metrics, all by default."""
    if masks is not None:
        check_shape("masks", masks, request)
    available = measurement.measured_on_maps(with_masks=masks is not None)
    for name in metrics or ():
        if name not in available:
            raise UserError(f"metrics has {name!r}, but must be of {', '.join(available)}")
    return tuple(metrics or available)


def ground_for(
    setup: Setup, request: Request, metrics: Sequence[str], masks: np.ndarray | None, right: np.ndarray
) -> Ground:
    """What maps are measured on."""
    settings = load(Score, file=DEFAULTS)[0]
    correlated = settings.correlation
    hidden = {
        share: correlation.hide(
            setup.classifier,
            request,
            side=correlated.cells,
            share=share,
            draws=correlated.draws,
            colour=setup.mean,
            batch_size=setup.batch_size,
        )
        for share in (correlated.shares if "faithfulness_correlation" in metrics else ())
    }
    return Ground(
        setup=setup,
        settings=settings,
        request=request,
        rows=np.arange(len(request)),
        masks={} if masks is None else {0: masks},
        right=right,
        hidden=hidden,
    )
