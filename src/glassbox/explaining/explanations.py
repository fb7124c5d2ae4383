"""Explain the picked images with every explainer, and measure the explanations."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from pathlib import Path

import numpy as np
import torch

from glassbox.config.explain import Explain
from glassbox.core import files
from glassbox.core.seeds import derive
from glassbox.explainers import factory
from glassbox.explainers.base import Attribution, Explainer, Request, in_parts, join
from glassbox.explaining.selection import Cases, Pick
from glassbox.models import Classifier
from glassbox.provenance.resume import Arrays, Keep, unkept
from glassbox.xai_metrics import faithfulness
from glassbox.xai_metrics.faithfulness import DELETION, INSERTION
from glassbox.xai_metrics.localization import RELEVANCE_MASS, area, relevance_mass

PANELS = "kernel_shap"  # the explainer that has further classes from the same forward passes
EMPTY = "empty_class"  # its detail that is a class
AREA = "object_area"  # column: share of the pixels inside the true mask
JOINED = 256  # parts whose numbers are kept one by one: a part's arrays take more room than the numbers in them
MEASURED = 16  # maps that are measured at a time: memory is that of so many images, however many there are


@dataclass(frozen=True)
class Panels:
    """KernelSHAP's maps of the picked images for many classes, those of an image by falling probability.

    Attributes:
        request: images and classes.
        attribution: one map a row of the request.
    """

    request: Request
    attribution: Attribution

    def rows(self) -> Iterator[range]:
        """The rows of each image."""
        start = 0
        for _, same in groupby(self.request.seeds):
            stop = start + len(list(same))
            yield range(start, stop)
            start = stop


@dataclass(frozen=True)
class Explained:
    """The maps of one explainer and what was measured on them.

    Attributes:
        name: of the explainer.
        attribution: one map a row of the request.
        scores: (N,) a metric, by name.
        panels: its maps of further classes, where it was asked for them.
    """

    name: str
    attribution: Attribution
    scores: dict[str, np.ndarray]
    panels: Panels | None = None


def request_for(
    picks: list[Pick],
    images: torch.Tensor,
    seed: int,
    classes: list[tuple[int, ...]] | None = None,
    folder: str | Path | None = None,
) -> Request:
    """One row for every explained class of every picked image; the rows of an image share its seed.

    Args:
        picks: images.
        images: (N, H, W, 3) uint8, the test split.
        seed: of the study.
        classes: for each pick the classes to explain, if not its own targets.
        folder: for a file that holds the images; None keeps them in memory.
    """
    rows = [
        (pick.row, target)
        for pick, targets in zip(picks, classes or [pick.targets for pick in picks], strict=True)
        for target in targets
    ]
    shown = files.on_disk(folder, (len(rows), *images.shape[1:]), "uint8")
    for place, (row, _) in enumerate(rows):
        shown[place] = images[row].numpy()
    return Request(
        torch.from_numpy(shown),
        torch.tensor([target for _, target in rows]),
        tuple(derive(seed, "explain", "image", row) for row, _ in rows),
    )


def panels_for(cases: Cases, settings: Explain, seed: int, folder: str | Path | None = None) -> Request | None:
    """The same images with further classes for KernelSHAP: of each the classes to explain and the most probable ones,
    as many as `kernel_shap.classes` says. None where it says 0, or KernelSHAP is not asked for."""
    n = settings.kernel_shap.classes
    if n == 0 or PANELS not in settings.explainers:
        return None
    classes = []
    for pick in cases.picks:
        order = np.argsort(-cases.probabilities[pick.row], kind="stable").tolist()
        classes.append(tuple(label for place, label in enumerate(order) if place < n or label in pick.targets))
    return request_for(cases.picks, cases.images, seed, classes, folder)


def marker(cases: Cases) -> Callable[[slice], np.ndarray] | None:
    """What `explain` calls `marked`: the true masks of rows of the request; None where the source has none."""
    masks, rows = cases.masks, [pick.row for pick in cases.picks for _ in pick.targets]
    return None if masks is None else lambda some: masks[rows[some]]


def explain(
    classifier: Classifier,
    request: Request,
    background: torch.Tensor,
    mean: tuple[float, ...],
    settings: Explain,
    batch_size: int,
    progress: Callable[[int], object] = int,
    panels: Request | None = None,
    marked: Callable[[slice], np.ndarray] | None = None,
    folder: str | Path | None = None,
    keep: Keep = unkept,
) -> Iterator[Explained]:
    """Run explainer after explainer, the random control last.

    Args:
        classifier: what is explained.
        request: images and classes.
        background: (B, H, W, 3) uint8 training images in random order.
        mean: colour of the training images, 0..1 a channel.
        settings: the section `explain`.
        batch_size: images in one forward pass.
        progress: called with the number of steps since the last call; `steps` says how many there are.
        panels: the same images with further classes, which KernelSHAP has from the same forward passes.
        marked: the true masks of these rows of the request, (N, H, W) bool; None where the source has none, and then
            no map is compared with a mask.
        folder: for files that hold the maps; None keeps them in memory.
        keep: takes maps and scores as soon as they are made.

    Raises:
        UserError: the device refuses; see `compute.refusals`.
    """
    made: dict[str, Explainer] = factory.make(settings, background, mean, batch_size)
    for name, explainer in made.items():
        wanted = panels if panels and name == PANELS else request
        whole = attribution = attribute(explainer, classifier, wanted, batch_size, progress, folder, keep, name)
        if wanted is panels:
            place = {row: number for number, row in enumerate(_rows(panels))}
            places = [place[row] for row in _rows(request)]
            attribution = gather((whole.rows([place]) for place in places), len(places), folder)
        measured = _measure(classifier, request, attribution.maps, marked, mean, settings, batch_size, keep)
        scores: dict[str, list[np.ndarray]] = {}
        for start, found in zip(range(0, len(request), MEASURED), measured, strict=True):
            for score, values in found.items():
                scores.setdefault(score, []).append(values)
            progress(2 * len(request.part(start, start + MEASURED)))
        joined = {score: np.concatenate(values) for score, values in scores.items()}
        yield Explained(name, attribution, joined, Panels(panels, whole) if wanted is panels else None)


def attribute(
    explainer: Explainer,
    classifier: Classifier,
    request: Request,
    batch_size: int,
    progress: Callable[[int], object] = int,
    folder: str | Path | None = None,
    keep: Keep = unkept,
    name: str = "maps",
) -> Attribution:
    """What one explainer says of a request.

    Args:
        explainer: that makes the maps.
        classifier: what is explained.
        request: images and classes.
        batch_size: images in one forward pass, for messages.
        progress: called with the number of maps since the last call.
        folder: for a file that holds the maps; None keeps them in memory.
        keep: takes maps as soon as they are made, under this `name`.

    Raises:
        UserError: the device refuses; see `compute.refusals`.
    """

    def parts() -> Iterator[Attribution]:
        for part in in_parts(explainer, classifier, request, batch_size, keep, name):
            yield part
            progress(len(part.maps))

    return gather(parts(), len(request), folder)


def gather(parts: Iterator[Attribution], n: int, folder: str | Path | None) -> Attribution:
    """The attributions of `n` consecutive rows as one, whose maps lie in a file of `folder`."""
    few: list[Attribution] = []

    def maps() -> Iterator[np.ndarray]:
        for part in parts:
            few.append(replace(part, maps=np.empty((0, *part.maps.shape[1:]), np.float32)))  # a view would keep them
            if len(few) == JOINED:
                few[:] = [join(few)]
            yield part.maps

    whole = gather_maps(maps(), n, folder)
    return replace(join(few), maps=whole)


def gather_maps(parts: Iterator[np.ndarray], n: int, folder: str | Path | None) -> np.ndarray:
    whole, done = np.zeros((0,)), 0
    for part in parts:
        whole = whole if done else files.on_disk(folder, (n, *part.shape[1:]), "float32")
        whole[done : done + len(part)] = part
        done += len(part)
    return whole


def _measure(
    classifier: Classifier,
    request: Request,
    maps: np.ndarray,
    marked: Callable[[slice], np.ndarray] | None,
    mean: tuple[float, ...],
    settings: Explain,
    batch_size: int,
    keep: Keep,
) -> Iterator[dict[str, np.ndarray]]:
    """The scores of the maps, part by part."""

    def items() -> Iterator[tuple[None, tuple[Request, np.ndarray, np.ndarray | None]]]:
        for start in range(0, len(request), MEASURED):
            rows = slice(start, start + MEASURED)
            yield None, (request.part(rows.start, rows.stop), maps[rows], marked(rows) if marked else None)

    yield from keep.each("scores", partial(_scores, mean, settings, batch_size), classifier, items())


def _scores(
    mean: tuple[float, ...],
    settings: Explain,
    batch_size: int,
    classifier: Classifier,
    _: None,
    measured: tuple[Request, np.ndarray, np.ndarray | None],
) -> Arrays:
    """Of a few maps (n, H, W) of the rows of a request, with their true masks (n, H, W) bool where there are any."""
    how, (part, maps, masks) = settings.faithfulness, measured
    asked = {"seeds": part.seeds, "steps": how.steps, "batch_size": batch_size, "precision": settings.precision}
    common = (classifier, part.images, part.targets, maps)
    scores = {
        DELETION.name: faithfulness.deletion_auc(*common, colour=mean, **asked),
        INSERTION.name: faithfulness.insertion_auc(*common, blur_sigma=how.blur_sigma, **asked),
    }
    return scores if masks is None else scores | {RELEVANCE_MASS.name: relevance_mass(maps, masks), AREA: area(masks)}


def _rows(request: Request) -> list[tuple[int, int]]:
    return list(zip(request.seeds, request.targets.tolist(), strict=True))


def steps(request: Request, settings: Explain, panels: Request | None = None) -> int:
    """How many steps `explain` reports: each map is made, then measured twice; those of further classes are made."""
    more = len(panels) - len(request) if panels else 0
    return 3 * len(request) * (len(settings.explainers) + 1) + more
