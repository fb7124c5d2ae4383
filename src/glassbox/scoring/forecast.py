"""How long *explain* and *score* will take, found by doing a little of each."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import numpy as np

from glassbox import models
from glassbox.config.score import Score
from glassbox.data.store import Split
from glassbox.explainers import factory
from glassbox.explainers.base import Explainer, Setup
from glassbox.explainers.controls import all_controls
from glassbox.explainers.running import attribute
from glassbox.explaining import explanations, lime_stability
from glassbox.explaining.selection import Cases
from glassbox.models import Card
from glassbox.scoring import measurement, preparation

Result = TypeVar("Result")
TRIED = 1  # images


@dataclass(frozen=True)
class Forecast:
    """Seconds."""

    explain: float
    score: float


def foretell(
    setup: Setup, settings: Score, *, card: Card, test: Split, predicted: np.ndarray, cases: Cases, passes: int = 0
) -> Forecast:
    """Time both stages on `TRIED` images, and multiply by the images of the study. Only work counts that grows with
    them; starts, figures and files come on top, about 10 s for each stage.

    Args:
        setup: of the study.
        settings: the section `score`.
        card: of the network.
        test, predicted: the test split, and the predicted classes (N,).
        cases: the images that *explain* shows.
        passes: further images that *explain* sends through the network once, see `familiarity.passes`.
    """
    batch = test.images[: setup.batch_size]
    models.predict(setup.classifier, batch, setup.batch_size)  # the first pass is slower
    n = min(TRIED, len(test))
    of_image = _timed(lambda: models.predict(setup.classifier, batch, setup.batch_size))[1] / len(batch)
    return Forecast(_explain(setup, cases, n) + passes * of_image, _score(setup, settings, card, test, predicted, n))


def _timed(work: Callable[[], Result]) -> tuple[Result, float]:
    """What some work gives, and the seconds that it takes."""
    start = time.perf_counter()
    return work(), time.perf_counter() - start


def _explain(setup: Setup, cases: Cases, n: int) -> float:
    """Every explained class of an image is a row, and takes its share; LIME's stability takes its samples."""
    few = replace(cases, picks=cases.picks[:n])
    plan = explanations.plan(few, setup.settings, setup.seed)
    rows = sum(len(pick.targets) for pick in cases.picks)
    seconds = _timed(lambda: list(explanations.explain(setup, plan)))[1] * rows / len(plan.request)
    lime, repeated = setup.settings.lime, lime_stability.choose(cases.picks, setup.settings)
    if repeated:
        samples = lime.stability.seeds * sum(lime.stability.samples) / lime.samples
        only = replace(setup, settings=setup.settings.model_copy(update={"explainers": ("lime",)}))
        explainer = factory.make(only)["lime"]
        of_map = _timed(lambda: attribute(explainer, setup.classifier, plan.request.part(0, 1)))[1]
        seconds += len(repeated) * samples * of_map
    return seconds


def _score(setup: Setup, s: Score, card: Card, test: Split, predicted: np.ndarray, n: int) -> float:
    """All maps of all subjects, their measurement, and what is done once for each image. How long a map takes to
    measure depends on it."""
    few, images, side = _of_images(s, n), min(s.images, len(test)), test.images.shape[1]
    # What grows with the images is timed by itself, for other networks are made once.
    ground = preparation.prepare(setup, few, card=card, test=test, predicted=predicted)
    hiding, varying = (
        _timed(partial(work, setup, few, ground.request))[1] for work in (preparation.hidden, preparation.variations)
    )
    seconds = hiding * images + varying * min(s.robustness.images, images)

    def made(explainer: Explainer) -> tuple[np.ndarray, float]:
        attribution, of_map = _timed(partial(attribute, explainer, setup.classifier, ground.request))
        return attribution.maps, of_map

    def measured(maps: np.ndarray, *, only_first: bool) -> float:
        return _timed(partial(measurement.measure, ground, maps, only_first=only_first))[1]

    further = measurement.further_maps(ground, s, images)
    for explainer in factory.make(setup).values():
        maps, of_map = made(explainer)
        seconds += (images + further) * of_map + images * measured(maps, only_first=False)
        if ground.untrained is not None:
            seconds += images * (of_map + measured(maps, only_first=True))
    for control in all_controls(setup.settings.superpixels, side).values():
        maps, of_map = made(control)
        seconds += (images + further) * of_map + images * measured(maps, only_first=False)
    matched = factory.matched(setup.settings, s.matched_evaluations, side)
    for explainer in factory.make(replace(setup, settings=matched)).values():
        maps, of_map = made(explainer)
        seconds += images * (of_map + measured(maps, only_first=True))
    return seconds / n


def _of_images(s: Score, n: int) -> Score:
    """The section with so many images everywhere."""
    few = {name: getattr(s, name).model_copy(update={"images": n}) for name in ("robustness", "randomization")}
    return s.model_copy(update=few | {"images": n})
