"""What all maps are measured on: the images, their masks and small changes of them, and other networks."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import scipy
import torch

from glassbox import models
from glassbox.config.explain import Explain
from glassbox.config.score import Score
from glassbox.core.seeds import derive
from glassbox.data.store import Split
from glassbox.explainers import factory
from glassbox.explainers.base import Explainer, Request
from glassbox.models import Card, Classifier, probabilities
from glassbox.provenance.resume import Arrays, Keep, unkept
from glassbox.xai_metrics import attack, correlation, perturbations, randomization
from glassbox.xai_metrics.base import Hidden
from glassbox.xai_metrics.sensitivity import ATTACK, BRIGHTNESS, MAX_SENSITIVITY, SHIFT


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
    """Images after a small change.

    Attributes:
        column: what is measured with it.
        images: (R, H, W, 3) uint8.
        draw: which random numbers the explainer takes.
        kept: (R,) bool, whether the prediction stayed.
        shift: (R,) pixels by which each image was moved to the lower right.
        looks_at: the explainers that it is for; None = all.
    """

    column: Column
    images: torch.Tensor
    draw: int
    kept: np.ndarray
    shift: np.ndarray
    looks_at: str | None = None


@dataclass(frozen=True)
class Ground:
    """What all maps are measured on; none of it depends on a map.

    Attributes:
        classifier: what is explained.
        request: the images, their predicted classes, and seeds.
        rows: (N,) places of the images in the test split.
        masks: (N, H, W) bool for each margin, or none where nobody knows the truth.
        right: (N,) bool, whether the prediction is right; only there is a mask the truth about it.
        hidden: for each share of cells what happened when they were hidden.
        variations: of the first images.
        untrained: the network before training.
        cascade: (layer, model) from the last layers randomised to all.
        mean: colour of the training images, 0..1 a channel.
        background: (B, H, W, 3) uint8 training images in random order.
        explain, settings: sections of the parameters.
        batch_size: images in one forward pass.
        keep: takes maps and values as soon as they are made.
    """

    classifier: Classifier
    request: Request
    rows: np.ndarray
    masks: dict[int, np.ndarray]
    right: np.ndarray
    hidden: dict[float, Hidden]
    variations: list[Variation]
    untrained: Classifier
    cascade: list[tuple[str, Classifier]]
    mean: tuple[float, ...]
    background: torch.Tensor
    explain: Explain
    settings: Score
    batch_size: int
    keep: Keep = unkept


def draw(labels: np.ndarray, images: int, seed: int, by_class: bool) -> np.ndarray:
    """Rows of `images` of the test images, or of all where there are fewer, drawn before any map is made.

    Args:
        labels: (N,) true classes.
        images: how many.
        seed: of the study.
        by_class: whether as many of every true class are drawn; where a class has too few, the others fill up.
    """
    rows = np.random.default_rng(derive(seed, "score", "images")).permutation(len(labels))
    if by_class:  # the first image of each class, then the second of each
        turn = pd.Series(labels[rows]).groupby(labels[rows]).cumcount()
        rows = rows[np.argsort(turn.to_numpy(), kind="stable")]
    return rows[:images]


def prepare(
    classifier: Classifier,
    card: Card,
    test: Split,
    predicted: np.ndarray,
    mean: tuple[float, ...],
    background: torch.Tensor,
    explain: Explain,
    settings: Score,
    batch_size: int,
    seed: int,
    keep: Keep = unkept,
) -> Ground:
    """Choose the images and do all that maps have no part in.

    Args:
        classifier: what is explained.
        card: of the classifier.
        test: the test split.
        predicted: (N,) classes.
        mean: colour of the training images, 0..1 a channel.
        background: (B, H, W, 3) uint8 training images in random order.
        explain, settings: sections of the parameters.
        batch_size: images in one forward pass.
        seed: of the study.
        keep: takes what is made as soon as it is made.
    """
    rows = draw(test.labels.numpy(), settings.images, seed, settings.draw == "by_class")
    seeds = tuple(derive(seed, "score", "image", int(row)) for row in rows)
    request = Request(test.images[rows], torch.from_numpy(predicted[rows]), seeds)
    masks = {} if test.masks is None else _widened(test.masks[rows].numpy().astype(bool), settings.margins)
    how = settings.correlation
    asked = {"side": how.cells, "draws": how.draws, "colour": mean, "batch_size": batch_size}
    hidden = {share: _hide(classifier, request, keep, share=share, **asked) for share in how.shares}
    fresh = _untrained(card, next(classifier.parameters()).device, derive(seed, "score", "untrained"))
    fresh.temperature = classifier.temperature  # so that nothing but the weights differs
    layers = [layer["name"] for layer in card.layers]
    own = factory.make(explain, background, mean, batch_size)
    first = request.part(0, settings.robustness.images)
    return Ground(
        classifier,
        request,
        rows,
        masks,
        predicted[rows] == test.labels.numpy()[rows],
        hidden,
        _variations(classifier, first, own, settings, batch_size, keep),
        fresh,
        [*randomization.cascade(classifier, fresh, layers, settings.randomization.steps)],
        mean,
        background,
        explain,
        settings,
        batch_size,
        keep,
    )


def _hide(classifier: Classifier, request: Request, keep: Keep, **asked: Any) -> Hidden:
    """`correlation.hide`, image by image."""
    found = [*keep.each("hidden", partial(_hidden, asked), classifier, request.in_blocks(1))]
    return Hidden(found[0]["cells"], *(np.concatenate([each[name] for each in found]) for name in ("sets", "drops")))


def _hidden(asked: dict[str, Any], classifier: Classifier, block: Request, rows: tuple[int, int]) -> Arrays:
    part = block.part(*rows)
    return vars(correlation.hide(classifier, part.images, part.targets, part.seeds, **asked))


def _variations(
    classifier: Classifier, first: Request, own: dict[str, Explainer], settings: Score, batch_size: int, keep: Keep
) -> list[Variation]:
    """All small changes of the first images, and which predictions they leave; attacks on those ways of looking at a
    model alone that the explainers have (see `Explainer.looks_at`), for not every network has features to attack."""
    s, pixels = settings.robustness, first.images.numpy()
    signs = np.array([np.random.default_rng(derive(seed, "sign")).choice((-1, 1)) for seed in first.seeds])
    unmoved, found = np.zeros(len(first), int), []

    def add(
        column: Column, changed: np.ndarray, number: int = 0, shift: np.ndarray = unmoved, looks_at: str | None = None
    ) -> None:
        images = torch.from_numpy(np.ascontiguousarray(changed))
        kept = probabilities(classifier, images, batch_size, keep=keep).argmax(dim=1) == first.targets
        found.append(Variation(column, images, number, kept.numpy(), shift, looks_at))

    for radius in s.noise:
        for number in range(s.draws):
            seeds = tuple(derive(seed, "noise", number) for seed in first.seeds)
            add(Column(MAX_SENSITIVITY.name, f"noise {radius:g}"), perturbations.noise(pixels, radius, seeds), number)
    for by in s.brightness:
        add(Column(BRIGHTNESS.name, f"by {by:g}"), perturbations.brighter(pixels, signs * by))
    for by in s.shift:
        add(Column(SHIFT.name, f"{by} px"), perturbations.shifted(pixels, signs * by), shift=signs * by)
    ways = {explainer.looks_at for explainer in own.values()}
    each = [
        (radius, name, rows)
        for radius in s.attack
        for name, surrogate in attack.SURROGATES.items()
        if name in ways
        for rows in attack.parts(len(first), surrogate, batch_size)
    ]
    work = partial(_attacked, s.attack_steps, batch_size)
    made = keep.each("attack", work, classifier, ((first, one) for one in each))
    changed: dict[tuple[float, str], list[np.ndarray]] = {}
    for (radius, name, _), arrays in zip(each, made, strict=True):
        changed.setdefault((radius, name), []).append(arrays["images"])
    for (radius, name), images in changed.items():
        add(Column(ATTACK.name, f"radius {radius:g}"), np.concatenate(images), looks_at=name)
    return found


def _attacked(
    steps: int, batch_size: int, classifier: Classifier, first: Request, asked: tuple[float, str, slice]
) -> Arrays:
    radius, name, rows = asked
    part = first.part(rows.start, rows.stop)
    seeds = tuple(derive(seed, "attack", name) for seed in part.seeds)
    how = {"radius": radius, "steps": steps, "batch_size": batch_size}
    surrogate = attack.SURROGATES[name]
    return {"images": attack.attack(classifier, part.images, part.targets, surrogate, seeds, **how)}


def _widened(masks: np.ndarray, margins: tuple[int, ...]) -> dict[int, np.ndarray]:
    """Masks (N, H, W) with everything within so many pixels of them, diagonals included."""
    around = np.ones((1, 3, 3), bool)
    return {n: scipy.ndimage.binary_dilation(masks, around, iterations=n) if n else masks for n in margins}


def _untrained(card: Card, device: torch.device, seed: int) -> Classifier:
    sizes: tuple[Any, ...] = (card.image_size, len(card.classes), card.mean, card.std, card.input_size)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return models.build(card.name, card.hyperparameters, *sizes).to(device).eval()
