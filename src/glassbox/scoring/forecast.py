"""How long *explain* and *score* will take, found by doing a little of each."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from glassbox import models
from glassbox.config.explain import Explain
from glassbox.config.score import Score
from glassbox.data.store import Split
from glassbox.explainers import factory
from glassbox.explainers.base import Request, Setup
from glassbox.explainers.catalog import CONTROLS
from glassbox.explainers.running import attribute
from glassbox.explaining import explanations, lime_stability
from glassbox.explaining.selection import Cases
from glassbox.models import Card
from glassbox.scoring import measurement, preparation

TRIED = 2  # images


@dataclass(frozen=True)
class Forecast:
    """Seconds."""

    explain: float
    score: float


def foretell(
    setup: Setup, settings: Score, *, card: Card, test: Split, predicted: np.ndarray, cases: Cases
) -> Forecast:
    """Time both stages on `TRIED` images, and multiply by the images of the study. Only work counts that grows with
    them; start, figures and files come on top.

    Args:
        setup: of the study.
        settings: the section `score`.
        card: of the network.
        test, predicted: the test split, and the predicted classes (N,).
        cases: the images that *explain* shows.
    """
    models.predict(setup.classifier, test.images[: setup.batch_size], setup.batch_size)  # the first pass is slower
    n = min(TRIED, len(test))
    return Forecast(_explain(setup, cases, n), _score(setup, settings, card, test, predicted, n))


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _explain(setup: Setup, cases: Cases, n: int) -> float:
    """Every explained class of an image is a row, and takes its share; LIME's stability takes its samples."""
    few = replace(cases, picks=cases.picks[:n])
    plan = explanations.plan(few, setup.settings, setup.seed)
    rows = sum(len(pick.targets) for pick in cases.picks)
    seconds = _seconds(lambda: list(explanations.explain(setup, plan))) * rows / len(plan.request)
    lime, repeated = setup.settings.lime, lime_stability.choose(cases.picks, setup.settings)
    if repeated:
        samples = lime.stability.seeds * sum(lime.stability.samples) / lime.samples
        seconds += len(repeated) * samples * _of_map(setup, setup.settings, "lime", plan.request.part(0, 1))
    return seconds


def _score(setup: Setup, s: Score, card: Card, test: Split, predicted: np.ndarray, n: int) -> float:
    """All maps of all subjects, their measurement, and what is done once for each image."""
    start = time.perf_counter()
    ground = preparation.prepare(setup, _of_images(s, n), card=card, test=test, predicted=predicted)
    prepared = time.perf_counter() - start
    varying = _seconds(lambda: preparation.variations(setup, ground.settings, ground.request))

    own, side = setup.settings, test.images.shape[1]
    matched = factory.matched(own, s.matched_evaluations, side)
    of_map = sum(_of_map(setup, own, name, ground.request) for name in own.explainers)
    of_matched = sum(_of_map(setup, matched, name, ground.request) for name in matched.explainers)
    maps = np.random.default_rng(0).normal(size=(n, side, side)).astype(np.float32)
    whole, ranking = (
        _seconds(partial(measurement.measure, ground, maps, only_first=only)) / n for only in (False, True)
    )

    images = min(s.images, len(test))
    untrained = 0 if ground.untrained is None else 1
    maps_of_each = (1 + untrained) * images + measurement.further_maps(ground, s, images)
    measured_whole = len(own.explainers) + len(CONTROLS)
    measured_first = untrained * len(own.explainers) + len(matched.explainers)
    return (
        (prepared - varying) / n * images
        + varying / n * min(s.robustness.images, images)
        + maps_of_each * of_map
        + images * of_matched
        + images * (whole * measured_whole + ranking * measured_first)
    )


def _of_images(s: Score, n: int) -> Score:
    """The section with so many images everywhere."""
    few = {name: getattr(s, name).model_copy(update={"images": n}) for name in ("robustness", "randomization")}
    return s.model_copy(update=few | {"images": n})


def _of_map(setup: Setup, settings: Explain, name: str, request: Request) -> float:
    """Seconds for a map of an explainer."""
    one = settings.model_copy(update={"explainers": (name,)})
    explainer = factory.make(replace(setup, settings=one))[name]
    return _seconds(lambda: attribute(explainer, setup.classifier, request)) / len(request)
