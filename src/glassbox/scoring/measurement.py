"""Measure every explainer, and every control, on the same images: the values that a scorecard is made of."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np
import pandas as pd
import torch

from glassbox.config.score import Score
from glassbox.core.seeds import derive
from glassbox.explainers import factory
from glassbox.explainers.base import Attribution, Budget, Explainer, Request
from glassbox.explainers.catalog import CONTROLLED, CONTROLS, EXPLAINER, MATCHED, UNTRAINED
from glassbox.explainers.controls import all_controls
from glassbox.explainers.running import Bookkeeping, attribute
from glassbox.models import Classifier
from glassbox.provenance.resume import Arrays
from glassbox.scoring.preparation import Column, Ground, Values
from glassbox.xai_metrics import perturbations, randomization, sensitivity
from glassbox.xai_metrics.base import Metric, Sample
from glassbox.xai_metrics.catalog import FAMILIES
from glassbox.xai_metrics.randomization import EMPRT
from glassbox.xai_metrics.stability import rank_agreement

_FAMILIES = [import_module(f"glassbox.xai_metrics.{name}") for name in FAMILIES]
METRICS: dict[str, Metric] = {metric.name: metric for family in _FAMILIES for metric in family.METRICS}
MEASURED = 16  # maps that are measured at a time; no more are lost when the process is killed


@dataclass(frozen=True)
class Scored:
    """One subject of the scorecard: an explainer or a control. `kind` is one of those in `catalog`."""

    name: str
    kind: str
    values: Values  # one an image for each metric and setting
    budget: Budget  # the most that a map costs
    attribution: Attribution  # the maps and their actual cost
    memory: float  # GiB that making them took at most
    curve: pd.DataFrame | None = None  # of randomization, a row for each image and model; None where not measured


def score(ground: Ground, progress: Callable[[int], object] = int) -> Iterator[Scored]:
    """Every explainer with its own settings, on the untrained network and with the common number of forward passes,
    and every control. An explainer whose own maps take about that number is measured once, and given once more as
    "matched". `progress` is called with the number of maps made or measured since its last call; `steps` counts them.
    """
    explain, side = ground.setup.settings, ground.request.images.shape[1]
    passes = ground.settings.matched_evaluations
    explainers = factory.make(ground.setup)
    matched = factory.make(replace(ground.setup, settings=factory.matched(explain, passes, side)))
    as_set = factory.matched_as_set(explain, passes, side)
    for kind, subjects in (
        (EXPLAINER, explainers),
        (CONTROLLED, all_controls(explain.superpixels, side)),
        (UNTRAINED, explainers if ground.untrained else {}),
        (MATCHED, matched),
    ):
        for name, explainer in subjects.items():
            whole = kind in (EXPLAINER, CONTROLLED)
            scored = measure_subject(ground, kind, name, explainer, whole=whole, progress=progress)
            yield scored
            if kind == EXPLAINER and name in as_set:
                firsts = {column.metric: column for column in reversed(scored.values)}
                ranking = {column: scored.values[column] for column in firsts.values()}
                yield replace(scored, kind=MATCHED, values=ranking, curve=None)


def measure_subject(
    ground: Ground,
    kind: str,
    name: str,
    explainer: Explainer,
    *,
    whole: bool,
    progress: Callable[[int], object] = int,
) -> Scored:
    """All values of one subject, see `Scored`: with `whole` every setting of every metric, else the first settings of
    those that need no further maps. `progress` is called with the number of maps made or measured since its last call.
    """
    side = ground.request.images.shape[1]
    model = ground.untrained if kind == UNTRAINED else ground.setup.classifier
    books = Bookkeeping(ground.keep, progress=progress)
    attribution = attribute(explainer, model, ground.request, books, memory=True)
    memory, curve = float(attribution.details.pop("memory").max()), None
    values = measure(ground, attribution.maps, only_first=not whole)
    progress(len(ground.request))
    if whole:
        values |= _robustness(ground, explainer, attribution.maps, books)
        if ground.cascade:
            emprt, curve = _randomization(ground, name, explainer, attribution.maps, books)
            values |= emprt
    return Scored(name, kind, values, explainer.budget(side), attribution, memory, curve)


def steps(ground: Ground) -> int:
    """How many steps `score` reports."""
    s, n = ground.settings, len(ground.request)
    once = 2 * n + further_maps(ground, s, n)
    side = ground.request.images.shape[1]
    matched = factory.matched(ground.setup.settings, s.matched_evaluations, side).explainers
    own = len(ground.setup.settings.explainers)
    untrained = own if ground.untrained else 0
    return once * (own + len(CONTROLS)) + 2 * n * (untrained + len(matched))


def further_maps(ground: Ground, s: Score, n: int) -> int:
    """How many maps of an explainer robustness and randomization take with the section `s` on `n` images, of which
    `ground` may have fewer."""
    varied, randomised = min(s.robustness.images, n), min(s.randomization.images, n)
    draws = len({variation.draw for variation in ground.variations})
    # Each explainer is attacked through one surrogate.
    attacks = len(s.robustness.attack) if ground.setup.classifier.has_gradients else 0
    variations = sum(v.looks_at is None for v in ground.variations) + attacks
    return varied * (draws + variations) + randomised * len(ground.cascade)


def measure(
    ground: Ground, maps: np.ndarray, only_first: bool = False, metrics: Collection[str] = tuple(METRICS)
) -> Values:
    """Those of the metrics that need only the maps (N, H, W), and the model's answers where pixels are replaced;
    `only_first` is whether only the first setting of each metric is taken, the one that ranks."""

    def items() -> Iterator[tuple[None, dict[str, Any]]]:
        for start in range(0, len(maps), MEASURED):
            rows = slice(start, start + MEASURED)
            part = {
                "maps": maps[rows],
                "request": ground.request.part(rows.start, rows.stop),
                "masks": {margin: masks[rows] for margin, masks in ground.masks.items()},
                "right": ground.right[rows],
                "hidden": {
                    share: replace(hidden, sets=hidden.sets[rows], drops=hidden.drops[rows])
                    for share, hidden in ground.hidden.items()
                },
            }
            yield None, part

    shared = {
        "mean": ground.setup.mean,
        "explain": ground.setup.settings,
        "settings": ground.settings,
        "batch_size": ground.setup.batch_size,
        "only_first": only_first,
    }
    parts = [*ground.keep.each("values", partial(_values, shared, metrics), ground.setup.classifier, items())]
    return {Column.parse(name): np.concatenate([part[name] for part in parts]) for name in parts[0]}


def measured_on_maps(with_masks: bool) -> list[str]:
    """Names of the metrics that need nothing but maps, the classifier and, for localization, masks."""
    return [
        metric.name
        for family in _FAMILIES
        if hasattr(family, "measure") and (with_masks or not family.__name__.endswith("localization"))
        for metric in family.METRICS
    ]


def measured(sample: Sample, metrics: Collection[str]) -> dict[str, np.ndarray]:
    """Some of these metrics, by name and setting, (N,) each; see `measured_on_maps`."""
    return {
        str(Column(metric.name, setting)): scores
        for family in _FAMILIES
        if hasattr(family, "measure") and {metric.name for metric in family.METRICS} & set(metrics)
        for metric, setting, scores in family.measure(sample)
        if metric.name in metrics
    }


def _values(
    shared: dict[str, Any], metrics: Collection[str], classifier: Classifier, _: None, part: dict[str, Any]
) -> Arrays:
    """The values of a `Sample`, given by its fields. The other metrics need further maps: `_robustness`,
    `_randomization`."""
    return measured(Sample(classifier=classifier, **shared, **part), metrics)


def _robustness(ground: Ground, explainer: Explainer, maps: np.ndarray, books: Bookkeeping) -> Values:
    """How far maps of the first images move, less what the explainer moves without a change of the image."""
    first = ground.request.part(0, ground.settings.robustness.images)
    n, before = len(first), maps[: len(first)]

    def maps_of(images: torch.Tensor, draw: int) -> np.ndarray:
        request = Request(images, first.targets, tuple(derive(seed, "draw", draw) for seed in first.seeds))
        return attribute(explainer, ground.setup.classifier, request, books).maps

    unchanged = {draw: maps_of(first.images, draw) for draw in sorted({v.draw for v in ground.variations})}
    draws: dict[Column, list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = {}
    for v in [v for v in ground.variations if v.looks_at in (None, explainer.looks_at)]:
        known = np.stack([perturbations.still_there(*before.shape[1:], by) for by in v.shift.tolist()])
        after = perturbations.shifted(maps_of(v.images, v.draw), -v.shift)
        by_itself = sensitivity.change(before, unchanged[v.draw], known)
        draws.setdefault(v.column, []).append((sensitivity.change(before, after, known), v.kept, by_itself))
    values = {}
    for column, triples in draws.items():
        values[column] = np.full(len(maps), np.nan)
        values[column][:n] = sensitivity.max_sensitivity(*map(np.stack, zip(*triples, strict=True)))
    return values


def _randomization(
    ground: Ground, name: str, explainer: Explainer, maps: np.ndarray, books: Bookkeeping
) -> tuple[Values, pd.DataFrame]:
    """eMPRT of the first images, and a row for each image and step of the cascade."""
    s = ground.settings.randomization
    first = ground.request.part(0, s.images)
    n, rows, after = len(first), [], maps
    for step, (layer, model) in enumerate(ground.cascade, 1):
        after = attribute(explainer, model, first, books).maps
        agreement = [rank_agreement(np.stack([maps[place].ravel(), after[place].ravel()])) for place in range(n)]
        of_step = {
            "explainer": name,
            "step": step,
            "randomised_from": layer,
            "image": ground.rows[:n],
            "entropy_rise": randomization.emprt(maps[:n], after, s.bins[0]),
            "rank_agreement": agreement,
        }
        rows.append(pd.DataFrame(of_step))
    values = {}
    for bins in s.bins:
        values[Column(EMPRT.name, f"{bins} bins")] = np.full(len(maps), np.nan)
        values[Column(EMPRT.name, f"{bins} bins")][:n] = randomization.emprt(maps[:n], after, bins)
    return values, pd.concat(rows, ignore_index=True)
