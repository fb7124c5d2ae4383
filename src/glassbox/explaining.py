"""Explain the picked images with every explainer, and measure the explanations."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from glassbox import explainers, files
from glassbox.config import Explain, Superpixels
from glassbox.explainers import Attribution, Explainer, Request, superpixels
from glassbox.explainers.base import in_parts, join
from glassbox.models import Classifier
from glassbox.notes import note, on_squares, sound
from glassbox.resume import Arrays, Keep, unkept
from glassbox.seeds import derive
from glassbox.selection import Cases, Pick
from glassbox.xai_metrics import faithfulness
from glassbox.xai_metrics.faithfulness import DELETION, INSERTION
from glassbox.xai_metrics.localization import RELEVANCE_MASS, area, relevance_mass

PANELS = "kernel_shap"  # the explainer that has further classes from the same forward passes
EMPTY = "empty_class"  # its detail that is a class
JOINED = 256  # parts whose numbers are kept one by one: a part's arrays take more room than the numbers in them
AREA = "object_area"  # column: share of the pixels inside the true mask
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
    made: dict[str, Explainer] = explainers.make(settings, background, mean, batch_size)
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

    whole = _gather_maps(maps(), n, folder)
    return replace(join(few), maps=whole)


def _gather_maps(parts: Iterator[np.ndarray], n: int, folder: str | Path | None) -> np.ndarray:
    whole, done = np.zeros((0,)), 0
    for part in parts:
        whole = whole if done else files.on_disk(folder, (n, *part.shape[1:]), "float32")
        whole[done : done + len(part)] = part
        done += len(part)
    return whole


def _measure(
    classifier: Classifier, request: Request, maps: np.ndarray, marked: Callable[[slice], np.ndarray] | None,
    mean: tuple[float, ...], settings: Explain, batch_size: int, keep: Keep,
) -> Iterator[dict[str, np.ndarray]]:  # fmt: skip
    """The scores of the maps, part by part."""

    def items() -> Iterator[tuple[None, tuple[Request, np.ndarray, np.ndarray | None]]]:
        for start in range(0, len(request), MEASURED):
            rows = slice(start, start + MEASURED)
            yield None, (request.part(rows.start, rows.stop), maps[rows], marked(rows) if marked else None)

    yield from keep.each("scores", partial(_scores, mean, settings, batch_size), classifier, items())


def _scores(
    mean: tuple[float, ...], settings: Explain, batch_size: int, classifier: Classifier, _: None,
    measured: tuple[Request, np.ndarray, np.ndarray | None],
) -> Arrays:  # fmt: skip
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


def index_table(
    picks: list[Pick], results: list[Explained], labels: np.ndarray, predicted: np.ndarray, source_index: np.ndarray,
    classes: tuple[str, ...], names: tuple[str, ...] | None = None,
) -> pd.DataFrame:  # fmt: skip
    """One row a map, in the order of the maps in attributions.npz: what is explained, by whom, at what cost, and
    whether it is drawn."""
    wanted = [(pick, target) for pick in picks for target in pick.targets]
    rows = np.array([pick.row for pick, _ in wanted])

    def named(labels: np.ndarray) -> np.ndarray:
        return np.array(classes, dtype=object)[labels]

    about = {
        "image": rows,
        "source_index": source_index[rows],
        **({"file": np.array(names, dtype=object)[rows]} if names else {}),
        "group": [pick.group for pick, _ in wanted],
        "true_class": named(labels[rows]),
        "predicted_class": named(predicted[rows]),
        "explained_class": named(np.array([target for _, target in wanted])),
    }
    parts = []
    for result in results:
        made = result.attribution
        measured = {
            "explainer": result.name,
            "forward_passes": made.forward_passes.astype(float).round(3),
            "backward_passes": made.backward_passes.astype(float).round(3),
            "all_zero": [not values.any() for values in made.maps],
            "drawn": [pick.drawn for pick, _ in wanted],
        }
        numbers = {name: values.astype(float) for name, values in (made.details | result.scores).items()}
        if EMPTY in made.details:
            numbers[EMPTY] = named(made.details[EMPTY].astype(int))
        parts.append(pd.DataFrame(about | measured | numbers))
    table = pd.concat(parts, ignore_index=True)
    table.insert(0, "map", np.arange(len(table)))
    return table


def seconds(results: list[Explained]) -> dict[str, list[float]]:
    """What each map took, in the order of the table `index`, which is the same in every rerun."""
    return {"seconds_a_map": [round(float(value), 6) for one in results for value in one.attribution.seconds]}


def tables(
    cases: Cases,
    results: list[Explained],
    how: Superpixels,
    source_index: np.ndarray,
    names: tuple[str, ...] | None = None,
) -> dict[str, pd.DataFrame]:
    """`index`, one row a map, and `panels`, one row for each of KernelSHAP's maps of further classes. In `index` stands
    also whether the regions of the image are a grid of `squares`; see `superpixels.segment`.

    Args:
        cases: what was explained.
        results: of every explainer.
        how: regions.
        source_index: (N,) position of each test image in its source.
        names: (N,) files, where the source has them.
    """
    index = index_table(cases.picks, results, cases.labels, cases.predicted, source_index, cases.classes, names)
    rows = [pick.row for pick in cases.picks]
    squares = superpixels.on_squares((cases.images[row].numpy() for row in rows), how)
    index["squares"] = index["image"].isin([row for row, fell in zip(rows, squares, strict=True) if fell])
    wider = panels_of(results)
    return {"index": index} | ({"panels": panels_table(cases, wider)} if wider else {})


def told(index: pd.DataFrame, explainers: int, additive: dict[str, float]) -> str:
    """What was done, in lines.

    Args:
        index: of `tables`.
        explainers: how many, without the control.
        additive: of `additivity`.
    """
    n, squares = index["image"].nunique(), index.loc[index["squares"], "image"].unique().tolist()
    lines = [f"explained {n} images with {explainers} explainers: {len(index)} maps", *on_squares(squares, n)]
    if additive:
        lines.append("KernelSHAP: {maps_not_additive} of {maps_checked} maps miss f(x)".format(**additive))
    return "\n".join(lines)


def arrays(results: list[Explained], request: Request, folder: str | Path | None = None) -> dict[str, np.ndarray]:
    """The maps in the order of the tables: `maps` (M, H, W) and `panels` (P, H, W) float32; and `images` (R, H, W, 3)
    uint8, one a row of the request.

    Args:
        results: of every explainer.
        request: the rows of each.
        folder: for a file that holds the maps; None keeps them in memory.
    """
    maps = _gather_maps((result.attribution.maps for result in results), len(request) * len(results), folder)
    wider = panels_of(results)
    return {"maps": maps, "images": request.images.numpy()} | ({"panels": wider.attribution.maps} if wider else {})


def panels_of(results: list[Explained]) -> Panels | None:
    """KernelSHAP's maps of further classes, if there are any."""
    return next((result.panels for result in results if result.panels), None)


def panels_table(cases: Cases, panels: Panels) -> pd.DataFrame:
    """One row for each of KernelSHAP's maps of the picked images, in the order of `panels` in attributions.npz: base
    value, evidence, and whether they add up to the probability."""
    rows = []
    for pick, places in zip(cases.picks, panels.rows(), strict=True):
        for place in places:
            label = int(panels.request.targets[place])
            rows.append(
                {"map": place, "image": pick.row, "explained_class": cases.classes[label],
                 "probability": cases.probabilities[pick.row, label]}
                | _details(panels.attribution, place)
                | {EMPTY: cases.classes[int(panels.attribution.details[EMPTY][place])]}
                | {"shown": may_be_shown(panels.attribution, place)}
            )  # fmt: skip
    return pd.DataFrame(rows)


def may_be_shown(attribution: Attribution, place: int) -> bool:
    """Whether a map keeps what its explainer promises: Shapley values add up, or are not shown."""
    return sound(_details(attribution, place))


def _details(attribution: Attribution, place: int) -> dict[str, float]:
    return {name: float(values[place]) for name, values in attribution.details.items()}


def additivity(results: list[Explained]) -> dict[str, float]:
    """Of all of KernelSHAP's maps, those of further classes included: the largest error of additivity, and how many
    maps are not shown for it. Empty without KernelSHAP."""
    for result in results:
        if result.name == PANELS:
            whole = result.panels.attribution if result.panels else result.attribution
            bad = [place for place in range(len(whole.maps)) if not may_be_shown(whole, place)]
            return {
                "additivity_error_max": float(whole.details["additivity_error"].max()),
                "maps_not_additive": len(bad),
                "maps_checked": len(whole.maps),
            }
    return {}


def figure_note(result: Explained, place: int, empty_class: str = "") -> str:
    """What is written under a map: how far it can be trusted; see `note`."""
    zero = not result.attribution.maps[place].any()
    return note(_details(result.attribution, place), zero, result.name, empty_class)
