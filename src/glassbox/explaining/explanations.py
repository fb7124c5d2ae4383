"""Explain the picked images with every explainer, and measure the explanations."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from glassbox.config.explain import Explain
from glassbox.core import files
from glassbox.core.seeds import derive
from glassbox.explainers import factory
from glassbox.explainers.base import Attribution, Request, Setup
from glassbox.explainers.catalog import CONTROL
from glassbox.explainers.controls import Control, noise
from glassbox.explainers.running import ALONE, Bookkeeping, attribute, gather
from glassbox.explaining.selection import Cases, Pick
from glassbox.models import Classifier
from glassbox.provenance.resume import Arrays
from glassbox.xai_metrics import faithfulness
from glassbox.xai_metrics.faithfulness import DELETION, INSERTION
from glassbox.xai_metrics.localization import RELEVANCE_MASS, area, relevance_mass

PANELS = "kernel_shap"  # the explainer that has further classes from the same forward passes
EMPTY = "empty_class"  # its detail that is a class
REMOVAL = "removal"  # probabilities while a map's strongest pixels are removed
AREA = "object_area"  # column: share of the pixels inside the true mask
MEASURED = 16  # maps that are measured at a time: memory is that of so many images, however many there are


@dataclass(frozen=True)
class Plan:
    """What is to be explained, and what is known of it."""

    request: Request  # a row for every explained class of every picked image
    panels: Request | None = None  # the same images with further classes for the Shapley values, where they are wanted
    masks: np.ndarray | None = None  # (N, H, W) bool, the true masks of the test split; None where there are none
    rows: tuple[int, ...] = ()  # for each row of the request its image's row in the test split

    def parts(self) -> Iterator[tuple[slice, np.ndarray | None]]:
        """Rows of the request that are measured together, and their masks, if there are any."""
        for start in range(0, len(self.request), MEASURED):
            part = slice(start, min(start + MEASURED, len(self.request)))
            yield part, None if self.masks is None else self.masks[[*self.rows[part]]]


@dataclass(frozen=True)
class Panels:
    """Shapley values of the picked images for many classes, those of an image by falling probability: one map a row
    of the request."""

    request: Request
    attribution: Attribution

    def rows(self) -> Iterator[range]:
        """The rows of each image."""
        return (range(start, stop) for start, stop in self.request.parts(1))


@dataclass(frozen=True)
class Explained:
    """The maps of one explainer and their scores."""

    name: str
    attribution: Attribution  # one map a row of the request
    scores: dict[str, np.ndarray]  # (N,) each, by the metric's name
    panels: Panels | None = None  # its maps of further classes, if there are any
    # (N, P) probabilities of the class while the strongest pixels take the mean colour, none at first, in the end all
    removal: np.ndarray | None = None


def plan(cases: Cases, settings: Explain, seed: int, folder: str | Path | None = None) -> Plan:
    """All maps that the section `explain` asks for; images lie in files of `folder`, or without one in memory."""
    request = request_for(cases.picks, cases.images, seed, folder=folder)
    rows = tuple(pick.row for pick in cases.picks for _ in pick.targets)
    return Plan(request, panels_for(cases, settings, seed, folder), cases.masks, rows)


def request_for(
    picks: list[Pick],
    images: torch.Tensor,
    seed: int,
    classes: list[tuple[int, ...]] | None = None,
    folder: str | Path | None = None,
) -> Request:
    """One row for every explained class of every picked image; the rows of an image share its seed. `classes` are those
    to explain of each pick, if not its own targets; the images lie in a file of `folder`, or without one in memory."""
    classes = classes or [pick.targets for pick in picks]
    rows = [pick.row for pick, targets in zip(picks, classes, strict=True) for _ in targets]
    shown = files.on_disk(folder, (len(rows), *images.shape[1:]), "uint8")
    for place, row in enumerate(rows):
        shown[place] = images[row].numpy()
    seeds = tuple(derive(seed, "explain", "image", row) for row in rows)
    return Request(torch.from_numpy(shown), torch.tensor([target for targets in classes for target in targets]), seeds)


def panels_for(cases: Cases, settings: Explain, seed: int, folder: str | Path | None = None) -> Request | None:
    """The same images with further classes for the Shapley values: the classes to explain and the most probable ones,
    as many as `kernel_shap.classes`. None where that is 0, or Shapley values are not wanted."""
    n = settings.kernel_shap.classes
    if n == 0 or PANELS not in settings.explainers:
        return None
    classes = []
    for pick in cases.picks:
        order = np.argsort(-cases.probabilities[pick.row], kind="stable").tolist()
        classes.append(tuple(label for place, label in enumerate(order) if place < n or label in pick.targets))
    return request_for(cases.picks, cases.images, seed, classes, folder)


def explain(setup: Setup, plan: Plan, books: Bookkeeping = ALONE) -> Iterator[Explained]:
    """Run explainer after explainer, the random control last, and measure the maps; `steps` counts the steps.

    Raises:
        UserError: the device cannot do it; see `compute.refusals`.
    """
    request = plan.request
    for name, explainer in (factory.make(setup) | {CONTROL: Control(noise)}).items():
        if plan.panels and name == PANELS:
            panels = Panels(plan.panels, attribute(explainer, setup.classifier, plan.panels, books, name=name))
            place = {row: number for number, row in enumerate(_rows(panels.request))}
            rows = (panels.attribution.rows([place[row]]) for row in _rows(request))
            attribution = gather(rows, len(request), books.folder)
        else:
            panels, attribution = None, attribute(explainer, setup.classifier, request, books, name=name)
        scores = _measure(setup, plan, attribution.maps, books)
        removal = scores.pop(REMOVAL)
        yield Explained(name, attribution, scores, panels, removal)


def _rows(request: Request) -> list[tuple[int, int]]:
    return list(zip(request.seeds, request.targets.tolist(), strict=True))


def _measure(setup: Setup, plan: Plan, maps: np.ndarray, books: Bookkeeping) -> dict[str, np.ndarray]:
    """The scores (N,) of the maps, by name, and their `REMOVAL`."""
    items = ((None, (plan.request.part(rows.start, rows.stop), maps[rows], masks)) for rows, masks in plan.parts())
    work = partial(_scores, setup.mean, setup.settings, setup.batch_size)
    parts = []
    for scores in books.keep.each("scores", work, setup.classifier, items):
        parts.append(scores)
        books.progress(2 * len(scores[DELETION.name]))
    return {name: np.concatenate([scores[name] for scores in parts]) for name in parts[0]}


def _scores(
    mean: tuple[float, ...],
    settings: Explain,
    batch_size: int,
    classifier: Classifier,
    _: None,
    measured: tuple[Request, np.ndarray, np.ndarray | None],
) -> Arrays:
    """Scores of a few rows of a request, with their maps (n, H, W) and, if there are any, true masks (n, H, W) bool;
    and their `REMOVAL`."""
    how, (part, maps, masks) = settings.faithfulness, measured
    shared = {"steps": how.steps, "batch_size": batch_size, "precision": settings.precision}
    removal = faithfulness.deletion_curves(classifier, part, maps, colour=mean, **shared)
    scores = {
        REMOVAL: removal,
        DELETION.name: faithfulness.areas(removal),
        INSERTION.name: faithfulness.insertion_auc(classifier, part, maps, blur_sigma=how.blur_sigma, **shared),
    }
    return scores if masks is None else scores | {RELEVANCE_MASS.name: relevance_mass(maps, masks), AREA: area(masks)}


def steps(plan: Plan, settings: Explain) -> int:
    """How many steps `explain` reports: each map is made, then measured twice; those of further classes are made."""
    further = len(plan.panels) - len(plan.request) if plan.panels else 0
    return 3 * len(plan.request) * (len(settings.explainers) + 1) + further
