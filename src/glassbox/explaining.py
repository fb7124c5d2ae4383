"""Explain the picked images with every explainer, and measure the explanations."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd
import torch

from glassbox import explainers, objects
from glassbox.compute import refusals
from glassbox.config import Explain
from glassbox.explainers import Attribution, Explainer, Request
from glassbox.explainers.base import join
from glassbox.models import Classifier
from glassbox.names import TOLERANCE
from glassbox.seeds import derive
from glassbox.selection import Cases, Pick
from glassbox.xai_metrics import faithfulness
from glassbox.xai_metrics.faithfulness import DELETION, INSERTION
from glassbox.xai_metrics.localization import RELEVANCE_MASS, area, relevance_mass

PANELS = "kernel_shap"  # the explainer that has further classes from the same evaluations
CHUNK = 16  # maps between two movements of the progress bar


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
    picks: list[Pick], images: torch.Tensor, seed: int, classes: list[tuple[int, ...]] | None = None
) -> Request:
    """One row for every explained class of every picked image; the rows of an image share its seed.

    Args:
        picks: images.
        images: (N, H, W, 3) uint8, the test split.
        seed: of the study.
        classes: for each pick the classes to explain, if not its own targets.
    """
    rows = [
        (pick.row, target)
        for pick, targets in zip(picks, classes or [pick.targets for pick in picks], strict=True)
        for target in targets
    ]
    return Request(
        images[torch.tensor([row for row, _ in rows])],
        torch.tensor([target for _, target in rows]),
        tuple(derive(seed, "explain", "image", row) for row, _ in rows),
    )


def panels_for(cases: Cases, settings: Explain, seed: int) -> Request | None:
    """The same images with further classes for KernelSHAP: of each the classes to explain and the most probable ones,
    as many as `kernel_shap.classes` says. None where it says 0, or KernelSHAP is not asked for."""
    n = settings.kernel_shap.classes
    if n == 0 or PANELS not in settings.explainers:
        return None
    classes = []
    for pick in cases.picks:
        order = np.argsort(-cases.probabilities[pick.row], kind="stable").tolist()
        classes.append(tuple(label for place, label in enumerate(order) if place < n or label in pick.targets))
    return request_for(cases.picks, cases.images, seed, classes)


def explain(
    classifier: Classifier,
    request: Request,
    background: torch.Tensor,
    mean: tuple[float, ...],
    settings: Explain,
    batch_size: int,
    progress: Callable[[int], object] = int,
    panels: Request | None = None,
    masks: np.ndarray | None = None,
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
        panels: the same images with further classes, which KernelSHAP has from the same evaluations.
        masks: (N, H, W) bool, where the object of each row of the request is; None estimates it.

    Raises:
        UserError: the device refuses; see `compute.refusals`.
    """
    device = next(classifier.parameters()).device
    side = classifier.input_size or request.images.shape[1]
    masks = objects.estimate(request.images.numpy()) if masks is None else masks
    made: dict[str, Explainer] = explainers.make(settings, background, mean, batch_size)
    for name, explainer in made.items():
        wanted, parts = panels if panels and name == PANELS else request, []
        with refusals(device, "compute.batch_size", batch_size, side):
            for part in wanted.parts(CHUNK):
                parts.append(explainer(classifier, part))
                progress(len(part))
        whole = attribution = join(parts)
        if wanted is panels:
            place = {row: number for number, row in enumerate(_rows(panels))}
            attribution = whole.rows([place[row] for row in _rows(request)])
        how = settings.faithfulness
        common = (classifier, request.images, request.targets, attribution.maps)
        asked = {"steps": how.steps, "batch_size": batch_size, "precision": settings.precision}
        deletion = faithfulness.deletion_auc(*common, colour=mean, **asked)
        progress(len(request))
        insertion = faithfulness.insertion_auc(*common, blur_sigma=how.blur_sigma, **asked)
        progress(len(request))
        scores = {
            DELETION.name: deletion,
            INSERTION.name: insertion,
            RELEVANCE_MASS.name: relevance_mass(attribution.maps, masks),
            "object_area": area(masks),
        }
        yield Explained(name, attribution, scores, Panels(panels, whole) if wanted is panels else None)


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
    """One row a map, in the order of the maps in attributions.npz: what is explained, by whom, at what cost."""
    wanted = [(pick, target) for pick in picks for target in pick.targets]
    rows: list[dict[str, Any]] = []
    for result in results:
        for place, (pick, target) in enumerate(wanted):
            rows.append(
                {
                    "map": len(rows),
                    "image": pick.row,
                    "source_index": int(source_index[pick.row]),
                    **({"file": names[pick.row]} if names else {}),
                    "group": pick.group,
                    "true_class": classes[labels[pick.row]],
                    "predicted_class": classes[predicted[pick.row]],
                    "explained_class": classes[target],
                    "explainer": result.name,
                    "seconds": round(float(result.attribution.seconds[place]), 6),
                    "model_evaluations": round(float(result.attribution.evaluations[place]), 3),
                    "backward_passes": round(float(result.attribution.backward_passes[place]), 3),
                    "all_zero": bool(not result.attribution.maps[place].any()),
                }
                | {name: float(values[place]) for name, values in result.attribution.details.items()}
                | {name: float(values[place]) for name, values in result.scores.items()}
            )
    return pd.DataFrame(rows)


def tables(
    cases: Cases, results: list[Explained], source_index: np.ndarray, names: tuple[str, ...] | None = None
) -> dict[str, pd.DataFrame]:
    """`index`, one row a map, and `panels`, one row for each of KernelSHAP's maps of further classes.

    Args:
        cases: what was explained.
        results: of every explainer.
        source_index: (N,) position of each test image in its source.
        names: (N,) files, where the source has them.
    """
    index = index_table(cases.picks, results, cases.labels, cases.predicted, source_index, cases.classes, names)
    wider = panels_of(results)
    return {"index": index} | ({"panels": panels_table(cases, wider)} if wider else {})


def arrays(results: list[Explained], request: Request) -> dict[str, np.ndarray]:
    """The maps in the order of the tables: `maps` (M, H, W) and `panels` (P, H, W) float32; and `images` (R, H, W, 3)
    uint8, one a row of the request."""
    maps, wider = np.concatenate([result.attribution.maps for result in results]), panels_of(results)
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
                | {name: float(values[place]) for name, values in panels.attribution.details.items()}
                | {"shown": may_be_shown(panels.attribution, place)}
            )  # fmt: skip
    return pd.DataFrame(rows)


def may_be_shown(attribution: Attribution, place: int) -> bool:
    """Whether a map keeps what its explainer promises: Shapley values add up, or are not shown."""
    errors = attribution.details.get("additivity_error")
    return errors is None or errors[place] <= TOLERANCE


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


def figure_note(result: Explained, place: int) -> str:
    """What is written under a map: how far it can be trusted."""
    details = result.attribution.details
    if not may_be_shown(result.attribution, place):
        return f"not shown: sums to f(x) ± {details['additivity_error'][place]:.2g}"
    if not result.attribution.maps[place].any():
        return "all zero: nothing speaks for it"
    if "local_r2" in details:
        return f"local R² {details['local_r2'][place]:.2f}"
    if "additivity_error" in details:
        return f"base {details['base_value'][place]:.2f}, sums to f(x)"
    if "completeness_error" in details:
        return f"completeness error {details['completeness_error'][place]:.2g}"
    return ""
