"""Measure every explainer, and every control, on the same images: the values that a scorecard is made of."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np
import pandas as pd
import torch

from glassbox.config.explain import Explain
from glassbox.core.seeds import derive
from glassbox.explainers import factory
from glassbox.explainers.base import Attribution, Budget, Explainer, Request, in_parts, join
from glassbox.explainers.catalog import CONTROL, CONTROLLED, CONTROLS, EXPLAINER, MATCHED, UNTRAINED
from glassbox.explainers.controls import all_controls
from glassbox.models import Classifier
from glassbox.provenance.resume import Arrays, Keep, unkept
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


def score(ground: Ground, progress: Callable[[int], object] = int) -> Iterator[Scored]:
    """Every explainer with its own settings, on the untrained network and with the common number of forward passes,
    and every control. An explainer whose own maps take about that number is measured once, and given once more as
    "matched".

    Args:
        ground: what to measure on.
        progress: called with the number of maps made or measured since the last call; `steps` says how many there are.
    """
    side, seen = ground.request.images.shape[1], (ground.background, ground.mean, ground.batch_size)
    own = own_explainers(ground.explain, *seen)
    controls = all_controls(ground.explain.superpixels, side)
    common = (ground.explain, ground.settings.matched_evaluations, side)
    alike, as_set = own_explainers(factory.matched(*common), *seen), factory.matched_as_set(*common)
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
    made = explain_all(explainer, model, ground.request, ground.batch_size, ground.keep, progress, memory=True)
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
    alike = factory.matched(ground.explain, s.matched_evaluations, side).explainers
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
        "mean": ground.mean,
        "explain": ground.explain,
        "settings": ground.settings,
        "batch_size": ground.batch_size,
        "only_first": only_first,
    }
    found = [*ground.keep.each("values", partial(_values, alike), ground.classifier, items())]
    return {Column.parse(name): np.concatenate([one[name] for one in found]) for name in found[0]}


def measured_on_maps(with_masks: bool) -> list[str]:
    """Names of the metrics that need nothing but maps, the classifier and, for localization, masks."""
    asking_again = {family for family in _FAMILIES if not hasattr(family, "measure")}
    return [
        metric.name
        for family in _FAMILIES
        if family not in asking_again and (with_masks or not family.__name__.endswith("localization"))
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


def _values(alike: dict[str, Any], classifier: Classifier, _: None, own: dict[str, Any]) -> Arrays:
    """All values of a `Sample`, given by its fields. Other metrics run the explainer again: `_robustness`,
    `_randomization`."""
    return measured(Sample(classifier=classifier, **alike, **own), METRICS)


def explain_all(
    explainer: Explainer,
    classifier: Classifier,
    request: Request,
    batch_size: int,
    keep: Keep = unkept,
    progress: Callable[[int], object] = int,
    memory: bool = False,
) -> Attribution:
    """All maps of a request, made part by part; see `in_parts`."""
    parts = []
    for part in in_parts(explainer, classifier, request, batch_size, keep, memory=memory):
        parts.append(part)
        progress(len(part.maps))
    return join(parts)


def own_explainers(
    settings: Explain, background: torch.Tensor, mean: tuple[float, ...], batch_size: int
) -> dict[str, Explainer]:
    """The explainers without the control."""
    made = factory.make(settings, background, mean, batch_size)
    return {name: explainer for name, explainer in made.items() if name != CONTROL}


def _robustness(ground: Ground, explainer: Explainer, maps: np.ndarray, progress: Callable[[int], object]) -> Values:
    """How far maps of the first images move, less what the explainer moves by itself."""
    first = ground.request.part(0, ground.settings.robustness.images)
    n, before = len(first), maps[: len(first)]

    def made(images: torch.Tensor, draw: int) -> np.ndarray:
        seeds = tuple(derive(seed, "draw", draw) for seed in first.seeds)
        asked = replace(first, images=images, seeds=seeds)
        return explain_all(explainer, ground.classifier, asked, ground.batch_size, ground.keep, progress).maps

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
        after = explain_all(explainer, model, first, ground.batch_size, ground.keep, progress).maps
        rise = randomization.emprt(maps[:n], after, s.bins[0])
        for place in range(n):
            pair = np.stack([maps[place].ravel(), after[place].ravel()])
            rows.append(
                {
                    "explainer": name,
                    "step": step,
                    "randomised_from": layer,
                    "image": int(ground.rows[place]),
                    "entropy_rise": rise[place],
                    "rank_agreement": rank_agreement(pair),
                }
            )
    values = {}
    for bins in s.bins:
        values[Column(EMPRT.name, f"{bins} bins")] = np.full(len(maps), np.nan)
        values[Column(EMPRT.name, f"{bins} bins")][:n] = randomization.emprt(maps[:n], after, bins)
    return values, pd.DataFrame(rows)
