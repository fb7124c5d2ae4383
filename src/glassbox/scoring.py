"""Measure every explainer, and every control, on the same images: the values that a scorecard is made of."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np
import pandas as pd
import scipy
import torch

from glassbox import attack, explainers, models, perturbations, shortcut
from glassbox.config import Explain, Score
from glassbox.data.store import Split
from glassbox.explainers import Explainer, Request
from glassbox.explainers.base import Attribution, Budget, constant, in_parts, join
from glassbox.families import FAMILIES
from glassbox.models import Card, Classifier, probabilities
from glassbox.names import CONTROL, CONTROLLED, CONTROLS, EXPLAINER, MATCHED, UNTRAINED
from glassbox.resume import Arrays, Keep, unkept
from glassbox.seeds import derive
from glassbox.xai_metrics import correlation, randomization, sensitivity
from glassbox.xai_metrics.base import Metric, Sample
from glassbox.xai_metrics.correlation import Hidden
from glassbox.xai_metrics.randomization import EMPRT
from glassbox.xai_metrics.sensitivity import ATTACK, BRIGHTNESS, MAX_SENSITIVITY, SHIFT
from glassbox.xai_metrics.stability import rank_agreement

_FAMILIES = [import_module(f"glassbox.xai_metrics.{name}") for name in FAMILIES]
METRICS: dict[str, Metric] = {metric.name: metric for family in _FAMILIES for metric in family.METRICS}
MEASURED = 16  # maps that are measured at a time; no more are lost when the process is killed


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


@dataclass(frozen=True)
class Scored:
    """One subject of the scorecard.

    Attributes:
        name: of the explainer or control.
        kind: "explainer"; "control"; "untrained", an explainer that was given the network before training; or
            "matched", one that was given the common number of forward passes.
        values: one an image for each metric and setting.
        budget: what a map was to cost at most.
        attribution: what the maps did cost.
        memory: GiB that making them took at most.
        curve: of randomization, a row for each image and model; None for what was not measured by it.
    """

    name: str
    kind: str
    values: Values
    budget: Budget
    attribution: Attribution
    memory: float
    curve: pd.DataFrame | None = None


@dataclass(frozen=True)
class Exposed:
    """What explainers make of a watermark.

    Attributes:
        images: (N, H, W, 3) uint8, all of them with the watermark.
        masks: (N, H, W) bool, where it lies.
        maps: (N, H, W) of the network that learnt it and of the one that did not, by explainer and control.
        contrast: of `shortcut.table`.
    """

    images: np.ndarray
    masks: np.ndarray
    maps: dict[str, tuple[np.ndarray, ...]]
    contrast: pd.DataFrame


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
    classifier: Classifier, card: Card, test: Split, predicted: np.ndarray, mean: tuple[float, ...],
    background: torch.Tensor, explain: Explain, settings: Score, batch_size: int, seed: int, keep: Keep = unkept,
) -> Ground:  # fmt: skip
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
    own = explainers.make(explain, background, mean, batch_size)
    first = request.part(0, settings.robustness.images)
    return Ground(
        classifier, request, rows, masks, predicted[rows] == test.labels.numpy()[rows], hidden,
        _variations(classifier, first, own, settings, batch_size, keep),
        fresh, [*randomization.cascade(classifier, fresh, layers, settings.randomization.steps)], mean, background,
        explain, settings, batch_size, keep,
    )  # fmt: skip


def _hide(classifier: Classifier, request: Request, keep: Keep, **asked: Any) -> Hidden:
    """`correlation.hide`, image by image."""
    found = [*keep.each("hidden", partial(_hidden, asked), classifier, request.in_blocks(1))]
    return Hidden(found[0]["cells"], *(np.concatenate([each[name] for each in found]) for name in ("sets", "drops")))


def _hidden(asked: dict[str, Any], classifier: Classifier, block: Request, rows: tuple[int, int]) -> Arrays:
    part = block.part(*rows)
    return vars(correlation.hide(classifier, part.images, part.targets, part.seeds, **asked))


def score(ground: Ground, progress: Callable[[int], object] = int) -> Iterator[Scored]:
    """Every explainer with its own settings, on the untrained network and with the common number of forward passes,
    and every control. An explainer whose own maps take about that number is measured once, and given once more as
    "matched".

    Args:
        ground: what to measure on.
        progress: called with the number of maps made or measured since the last call; `steps` says how many there are.
    """
    side, seen = ground.request.images.shape[1], (ground.background, ground.mean, ground.batch_size)
    own = _own(ground.explain, *seen)
    controls = explainers.all_controls(ground.explain.superpixels, side)
    common = (ground.explain, ground.settings.matched_evaluations, side)
    alike, as_set = _own(explainers.matched(*common), *seen), explainers.matched_as_set(*common)
    for kind, subjects in ((EXPLAINER, own), (CONTROLLED, controls), (UNTRAINED, own), (MATCHED, alike)):
        whole = kind in (EXPLAINER, CONTROLLED)
        model = ground.untrained if kind == UNTRAINED else ground.classifier
        for name, explainer in subjects.items():
            measured = measure_subject(ground, kind, name, explainer, model, whole=whole, progress=progress)
            yield measured
            if kind == EXPLAINER and name in as_set:
                firsts = {column.metric: column for column in reversed(measured.values)}
                ranking = {column: measured.values[column] for column in firsts.values()}
                yield replace(measured, kind=MATCHED, values=ranking, curve=None)


def measure_subject(
    ground: Ground,
    kind: str,
    name: str,
    explainer: Explainer,
    model: Classifier,
    *,
    whole: bool,
    progress: Callable[[int], object] = int,
) -> Scored:
    """All that is measured on one subject.

    Args:
        ground: what to measure on.
        kind, name: of the subject, see `Scored`.
        explainer: makes the maps.
        model: that it explains.
        whole: whether every setting is measured, and robustness and randomization as well, or the first settings alone.
        progress: called with the number of maps made or measured since the last call.
    """
    made = _explain(explainer, model, ground.request, ground.batch_size, ground.keep, progress, memory=True)
    memory, curve = float(made.details.pop("memory").max()), None
    values = measure(ground, made.maps, only_first=not whole)
    progress(len(ground.request))
    if whole:
        values |= _robustness(ground, explainer, made.maps, progress)
        moved, curve = _randomization(ground, name, explainer, made.maps, progress)
        values |= moved
    side = ground.request.images.shape[1]
    return Scored(name, kind, values, explainer.budget(side), made, memory, curve)


def steps(ground: Ground) -> int:
    """How many steps `score` reports."""
    s, n = ground.settings, len(ground.request)
    changed, lost = min(s.robustness.images, n), min(s.randomization.images, n)
    draws = len({variation.draw for variation in ground.variations})
    # Of the attacks' stand-ins an explainer meets one.
    variations = sum(v.looks_at is None for v in ground.variations) + len(s.robustness.attack)
    once = 2 * n + changed * (draws + variations) + lost * len(ground.cascade)
    side = ground.request.images.shape[1]
    alike = explainers.matched(ground.explain, s.matched_evaluations, side).explainers
    own = len(ground.explain.explainers)
    return once * (own + len(CONTROLS)) + 2 * n * (own + len(alike))


def measure(ground: Ground, maps: np.ndarray, only_first: bool = False) -> Values:
    """What is measured on maps alone, and on the model's answers where pixels are replaced.

    Args:
        ground: what to measure on.
        maps: (N, H, W).
        only_first: whether only the first setting of each metric is taken, the one that ranks.
    """

    def items() -> Iterator[tuple[None, dict[str, Any]]]:
        for start in range(0, len(maps), MEASURED):
            rows = slice(start, start + MEASURED)
            hidden = ground.hidden.items()
            own = {
                "maps": maps[rows],
                "request": ground.request.part(rows.start, rows.stop),
                "masks": {margin: masks[rows] for margin, masks in ground.masks.items()},
                "right": ground.right[rows],
                "hidden": {share: replace(of, sets=of.sets[rows], drops=of.drops[rows]) for share, of in hidden},
            }
            yield None, own

    alike = {
        "mean": ground.mean, "explain": ground.explain, "settings": ground.settings, "batch_size": ground.batch_size,
        "only_first": only_first,
    }  # fmt: skip
    found = [*ground.keep.each("values", partial(_values, alike), ground.classifier, items())]
    return {Column.parse(name): np.concatenate([one[name] for one in found]) for name in found[0]}


def _values(alike: dict[str, Any], classifier: Classifier, _: None, own: dict[str, Any]) -> Arrays:
    """Of a `Sample`, given by its fields."""
    sample = Sample(classifier=classifier, **alike, **own)
    return {
        str(Column(metric.name, setting)): scores
        for family in _FAMILIES
        if hasattr(family, "measure")  # the others ask the explainer again: `_robustness`, `_randomization`
        for metric, setting, scores in family.measure(sample)
    }


def expose(
    classifier: Classifier, control: Classifier, test: Split, mean: tuple[float, ...], background: torch.Tensor,
    explain: Explain, settings: Score, batch_size: int, seed: int, keep: Keep = unkept,
    progress: Callable[[int], object] = int,
) -> Exposed:  # fmt: skip
    """Maps of images with a watermark, for the class that it stands for, of the network that learnt it as a shortcut
    and of one for which it was noise; see `shortcut`.

    Args:
        classifier: the network with the shortcut.
        control: the other network.
        test: with the interventions "unmarked" and "marked".
        mean, background, explain, settings, batch_size, seed, keep: see `prepare`.
        progress: called with the number of maps made since the last call; `steps_to_expose` says how many there are.
    """
    target = shortcut.target_of(test)
    of_class = np.flatnonzero(test.labels.numpy() == target)
    rows = of_class[draw(np.zeros(len(of_class)), settings.images, seed, by_class=False)]
    seeds = tuple(derive(seed, "score", "image", int(row)) for row in rows)
    request = Request(test.changed[shortcut.MARKED][rows], torch.full((len(rows),), target), seeds)
    controls = explainers.all_controls(explain.superpixels, request.images.shape[1])
    made = _own(explain, background, mean, batch_size) | controls
    maps = {
        name: tuple(_explain(explainer, model, request, batch_size, keep, progress).maps
                    for model in (classifier, control))
        for name, explainer in made.items()
    }  # fmt: skip
    masks = shortcut.masks_of(test)[rows]
    return Exposed(request.images.numpy(), masks, maps, shortcut.table(maps, masks))


def steps_to_expose(explain: Explain, settings: Score, test: Split) -> int:
    """How many steps `expose` reports."""
    n = min(settings.images, int((test.labels == shortcut.target_of(test)).sum()))
    return 2 * n * (len(explain.explainers) + len(CONTROLS))


def table(scored: list[Scored], ground: Ground, classes: tuple[str, ...]) -> pd.DataFrame:
    """Wide form: a row for each subject and image, a column for each metric and setting; see `Column`. `constant_map`
    says whether the map has one value, and so ranks no pixel."""
    parts = []
    for one in scored:
        about = {
            "explainer": one.name, "kind": one.kind, "image": ground.rows,
            "explained_class": [classes[target] for target in ground.request.targets.tolist()],
            "forward_passes": one.attribution.forward_passes.round(3),
            "backward_passes": one.attribution.backward_passes.round(3),
            "constant_map": constant(one.attribution.maps),
        }  # fmt: skip
        parts.append(pd.DataFrame(about | {str(column): values for column, values in one.values.items()}))
    return pd.concat(parts, ignore_index=True)


def constant_maps(values: pd.DataFrame) -> dict[str, dict[str, int]]:
    """Of each explainer and control how many of its maps have one value, `constant`, and how many there are, `images`.

    Args:
        values: of `table`.
    """
    own = values[values["kind"].isin((EXPLAINER, CONTROLLED))].groupby("explainer", sort=False)["constant_map"]
    return {name: {"constant": int(maps.sum()), "images": len(maps)} for name, maps in own}


def curves(scored: list[Scored]) -> pd.DataFrame:
    """What randomization did to maps, a row for each subject, model and image."""
    return pd.concat([one.curve for one in scored if one.curve is not None], ignore_index=True)


def costs(scored: list[Scored]) -> dict[str, dict[str, dict[str, float]]]:
    """Milliseconds a map (median) and GiB of memory beyond what was in use before, by kind and name."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for one in scored:
        found.setdefault(one.kind, {})[one.name] = {
            "milliseconds": 1000 * float(np.median(one.attribution.seconds)), "peak_memory": one.memory,
        }  # fmt: skip
    return found


def budgets(scored: list[Scored]) -> pd.DataFrame:
    """A row a subject: what a map may cost at most, and what it did cost on average."""
    return pd.DataFrame(
        {
            "explainer": one.name, "kind": one.kind, "stated_forward_passes": one.budget.forward_passes,
            "forward_passes": one.attribution.forward_passes.mean(),
            "stated_backward_passes": one.budget.backward_passes,
            "backward_passes": one.attribution.backward_passes.mean(),
        }
        for one in scored
    )  # fmt: skip


def _explain(
    explainer: Explainer, classifier: Classifier, request: Request, batch_size: int, keep: Keep,
    progress: Callable[[int], object], memory: bool = False,
) -> Attribution:  # fmt: skip
    parts = []
    for part in in_parts(explainer, classifier, request, batch_size, keep, memory=memory):
        parts.append(part)
        progress(len(part.maps))
    return join(parts)


def _own(settings: Explain, background: torch.Tensor, mean: tuple[float, ...], batch_size: int) -> dict[str, Explainer]:
    """The explainers without the control."""
    made = explainers.make(settings, background, mean, batch_size)
    return {name: explainer for name, explainer in made.items() if name != CONTROL}


def _robustness(ground: Ground, explainer: Explainer, maps: np.ndarray, progress: Callable[[int], object]) -> Values:
    """How far maps of the first images move, less what the explainer moves by itself."""
    first = ground.request.part(0, ground.settings.robustness.images)
    n, before = len(first), maps[: len(first)]

    def made(images: torch.Tensor, draw: int) -> np.ndarray:
        seeds = tuple(derive(seed, "draw", draw) for seed in first.seeds)
        asked = replace(first, images=images, seeds=seeds)
        return _explain(explainer, ground.classifier, asked, ground.batch_size, ground.keep, progress).maps

    still = {draw: made(first.images, draw) for draw in sorted({v.draw for v in ground.variations})}
    found: dict[Column, list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = {}
    for v in [v for v in ground.variations if v.looks_at in (None, explainer.looks_at)]:
        known = np.stack([perturbations.still_there(*before.shape[1:], by) for by in v.shift.tolist()])
        after = perturbations.shifted(made(v.images, v.draw), -v.shift)
        own = sensitivity.change(before, still[v.draw], known)
        found.setdefault(v.column, []).append((sensitivity.change(before, after, known), v.kept, own))
    values = {}
    for column, draws in found.items():
        values[column] = np.full(len(maps), np.nan)
        values[column][:n] = sensitivity.max_sensitivity(*map(np.stack, zip(*draws, strict=True)))
    return values


def _randomization(
    ground: Ground, name: str, explainer: Explainer, maps: np.ndarray, progress: Callable[[int], object]
) -> tuple[Values, pd.DataFrame]:
    """eMPRT of the first images, and the way there."""
    s = ground.settings.randomization
    first = ground.request.part(0, s.images)
    n, rows, after = len(first), [], maps
    for step, (layer, model) in enumerate(ground.cascade, 1):
        after = _explain(explainer, model, first, ground.batch_size, ground.keep, progress).maps
        rise = randomization.emprt(maps[:n], after, s.bins[0])
        for place in range(n):
            pair = np.stack([maps[place].ravel(), after[place].ravel()])
            rows.append(
                {"explainer": name, "step": step, "randomised_from": layer, "image": int(ground.rows[place]),
                 "entropy_rise": rise[place], "rank_agreement": rank_agreement(pair)}
            )  # fmt: skip
    values = {}
    for bins in s.bins:
        values[Column(EMPRT.name, f"{bins} bins")] = np.full(len(maps), np.nan)
        values[Column(EMPRT.name, f"{bins} bins")][:n] = randomization.emprt(maps[:n], after, bins)
    return values, pd.DataFrame(rows)


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
    each = [(radius, name, rows) for radius in s.attack for name, surrogate in attack.SURROGATES.items() if name in ways
            for rows in attack.parts(len(first), surrogate, batch_size)]  # fmt: skip
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
