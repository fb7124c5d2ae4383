"""What all maps are measured on: the images, their masks and small changes of them, and other networks."""

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import scipy
import torch

from glassbox import models
from glassbox.config.score import Robustness, Score
from glassbox.config.types import NETWORK_FILES
from glassbox.core.seeds import derive
from glassbox.data.store import Split
from glassbox.explainers import factory
from glassbox.explainers.base import Request, Setup
from glassbox.explainers.controls import Control
from glassbox.models import Card, Classifier, probabilities
from glassbox.provenance.resume import Arrays, Keep, unkept
from glassbox.xai_metrics import attack, correlation, perturbations, randomization
from glassbox.xai_metrics.base import Hidden
from glassbox.xai_metrics.sensitivity import ATTACK, BRIGHTNESS, MAX_SENSITIVITY, SHIFT

IN_FILE = (
    "The network comes from a file, which does not say how its weights were drawn before training. Where a network "
    "without learnt weights is needed, as a control and for eMPRT, each of its tensors has the learnt values in random "
    "order."
)
ANSWERS_ONLY = (
    "The network is an ONNX model, which only answers. Without its gradients and weights these are not measured: "
    "sensitivity to attacks, eMPRT, and each explainer's own maps of an untrained network as a control."
)


@dataclass(frozen=True)
class Column:
    """A metric with one of its settings."""

    metric: str
    setting: str

    def __str__(self) -> str:
        return f"{self.metric}[{self.setting}]"

    @staticmethod
    def parse(text: str) -> "Column":
        """The reverse of `str`."""
        metric, _, setting = text.removesuffix("]").partition("[")
        return Column(metric, setting)


Values = dict[Column, np.ndarray]  # (N,) each, NaN where an image has none


@dataclass(frozen=True)
class Variation:
    """Images after a small change."""

    column: Column  # the metric that it serves
    images: torch.Tensor  # (R, H, W, 3) uint8
    draw: int  # number of the explainer's random draw
    kept: np.ndarray  # (R,) bool, whether the prediction stayed
    shift: np.ndarray  # (R,) pixels by which each image was moved to the lower right
    looks_at: str | None = None  # the explainers that it is for, see `Explainer.looks_at`; None = all


@dataclass(frozen=True)
class Ground:
    """What all maps are measured on; none of it depends on a map. The last fields are for the measurements that need
    further maps, see `measurement.measure_subject`."""

    setup: Setup  # the explained classifier, settings of the explainers, background
    settings: Score  # the section `score`
    request: Request  # the images, their predicted classes, and seeds
    rows: np.ndarray  # (N,) places of the images in the test split
    masks: dict[int, np.ndarray]  # (N, H, W) bool for each margin, or none where the truth is unknown
    right: np.ndarray  # (N,) bool, whether the prediction is right; only there is a mask the truth about it
    hidden: dict[float, Hidden]  # for each share of cells the effect of hiding them
    notes: tuple[str, ...] = ()  # sentences about what is measured otherwise than for a network made by code
    keep: Keep = unkept  # stores maps and values as soon as they are made
    variations: list[Variation] = field(default_factory=list)  # small changes of the first images
    untrained: Classifier | None = None  # the network before training
    # (layer, model) from the last layers randomised to all
    cascade: list[tuple[str, Classifier]] = field(default_factory=list)


def draw(labels: np.ndarray, images: int, seed: int, by_class: bool) -> np.ndarray:
    """Random rows of so many test images with these labels (N,), or of all where there are fewer; with `by_class` as
    many of every true class, and others where a class has too few."""
    rows = np.random.default_rng(derive(seed, "score", "images")).permutation(len(labels))
    if by_class:  # the first image of each class, then the second of each
        turn = pd.Series(labels[rows]).groupby(labels[rows]).cumcount()
        rows = rows[np.argsort(turn.to_numpy(), kind="stable")]
    return rows[:images]


def prepare(
    setup: Setup, settings: Score, *, card: Card, test: Split, predicted: np.ndarray, keep: Keep = unkept
) -> Ground:
    """Choose the images and do everything that does not depend on maps. `predicted` (N,) are the classes of the test
    split; `keep` stores parts of the work as soon as they are made."""
    classifier, seed = setup.classifier, setup.seed
    rows = draw(test.labels.numpy(), settings.images, seed, settings.draw == "by_class")
    seeds = tuple(derive(seed, "score", "image", int(row)) for row in rows)
    request = Request(test.images[rows], torch.from_numpy(predicted[rows]), seeds)
    untrained = models.untrained(classifier, card, derive(seed, "score", "untrained"))
    layers = [layer["name"] for layer in card.layers]
    return Ground(
        setup=setup,
        settings=settings,
        request=request,
        rows=rows,
        masks={} if test.masks is None else _widened(test.masks[rows].numpy().astype(bool), settings.margins),
        right=predicted[rows] == test.labels.numpy()[rows],
        hidden=hidden(setup, settings, request, keep),
        variations=variations(setup, settings, request, keep),
        untrained=untrained,
        cascade=[*randomization.cascade(classifier, untrained, layers, settings.randomization.steps)]
        if untrained
        else [],
        notes=_notes(card, classifier),
        keep=keep,
    )


def _notes(card: Card, classifier: Classifier) -> tuple[str, ...]:
    if not classifier.has_gradients:
        return (ANSWERS_ONLY,)
    return (IN_FILE,) if card.name in NETWORK_FILES else ()


def hidden(setup: Setup, settings: Score, request: Request, keep: Keep = unkept) -> dict[float, Hidden]:
    """`correlation.hide`, image by image, for each share of the cells."""
    how = settings.correlation
    options = {"side": how.cells, "draws": how.draws, "colour": setup.mean, "batch_size": setup.batch_size}
    by_share = {}
    for share in how.shares:
        work = partial(_hidden, options | {"share": share})
        parts = [*keep.each("hidden", work, setup.classifier, request.in_blocks(1))]
        sets, drops = (np.concatenate([part[name] for part in parts]) for name in ("sets", "drops"))
        by_share[share] = Hidden(parts[0]["cells"], sets, drops)
    return by_share


def _hidden(options: dict[str, Any], classifier: Classifier, block: Request, rows: tuple[int, int]) -> Arrays:
    return vars(correlation.hide(classifier, block.part(*rows), **options))


def variations(setup: Setup, settings: Score, request: Request, keep: Keep = unkept) -> list[Variation]:
    """Small changes of the first images, and which predictions they leave; attacks only by the surrogates of the
    explainers in use (see `Explainer.looks_at`), for not every network has features to attack."""
    s, first = settings.robustness, request.part(0, settings.robustness.images)
    pixels = first.images.numpy()
    signs = np.array([np.random.default_rng(derive(seed, "sign")).choice((-1, 1)) for seed in first.seeds])
    unmoved, changes = np.zeros(len(first), int), []

    def add(
        column: Column, changed: np.ndarray, number: int = 0, shift: np.ndarray = unmoved, looks_at: str | None = None
    ) -> None:
        images = torch.from_numpy(np.ascontiguousarray(changed))
        p = probabilities(setup.classifier, images, setup.batch_size, keep=keep)
        kept = (p.argmax(dim=1) == first.targets).numpy()
        changes.append(Variation(column, images, number, kept, shift, looks_at))

    for radius in s.noise:
        for number in range(s.draws):
            seeds = tuple(derive(seed, "noise", number) for seed in first.seeds)
            add(Column(MAX_SENSITIVITY.name, f"noise {radius:g}"), perturbations.noise(pixels, radius, seeds), number)
    for by in s.brightness:
        add(Column(BRIGHTNESS.name, f"by {by:g}"), perturbations.brighter(pixels, signs * by))
    for by in s.shift:
        add(Column(SHIFT.name, f"{by} px"), perturbations.shifted(pixels, signs * by), shift=signs * by)
    for (radius, surrogate), images in _attacks(setup, s, first, keep).items():
        add(Column(ATTACK.name, f"radius {radius:g}"), images, looks_at=surrogate)
    return changes


def _attacks(setup: Setup, how: Robustness, first: Request, keep: Keep) -> dict[tuple[float, str], np.ndarray]:
    """The attacked images (R, H, W, 3) by radius and surrogate; none without gradients."""
    if not setup.classifier.has_gradients:
        return {}
    in_use = {Control.looks_at} | {explainer.looks_at for explainer in factory.make(setup).values()}
    parts = [
        (radius, name, rows)
        for radius in how.attack
        for name, surrogate in attack.SURROGATES.items()
        if name in in_use
        for rows in attack.parts(len(first), surrogate, setup.batch_size)
    ]
    work = partial(_attacked, how.attack_steps, setup.batch_size)
    attacked: dict[tuple[float, str], list[np.ndarray]] = {}
    made = keep.each("attack", work, setup.classifier, ((first, part) for part in parts))
    for (radius, name, _), arrays in zip(parts, made, strict=True):
        attacked.setdefault((radius, name), []).append(arrays["images"])
    return {key: np.concatenate(images) for key, images in attacked.items()}


def _attacked(
    steps: int, batch_size: int, classifier: Classifier, first: Request, part: tuple[float, str, slice]
) -> Arrays:
    radius, name, rows = part
    request = first.part(rows.start, rows.stop)
    request = replace(request, seeds=tuple(derive(seed, "attack", name) for seed in request.seeds))
    options = {"radius": radius, "steps": steps, "batch_size": batch_size}
    return {"images": attack.attack(classifier, request, attack.SURROGATES[name], **options)}


def _widened(masks: np.ndarray, margins: tuple[int, ...]) -> dict[int, np.ndarray]:
    """Masks (N, H, W) with everything within so many pixels of them, diagonals included."""
    around = np.ones((1, 3, 3), bool)
    return {n: scipy.ndimage.binary_dilation(masks, around, iterations=n) if n else masks for n in margins}
