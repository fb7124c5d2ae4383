"""The three analyses of the ResNet-50 paper, with numbers: images that were recognised, mistakes, confusable pairs.

Where the paper looks at a picture and concludes that an ear misled the model, here the ear is hidden, and the model
predicts again.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch

from glassbox.core.seeds import derive
from glassbox.explainers.base import Setup
from glassbox.explainers.catalog import CONTROL
from glassbox.explainers.running import ALONE, Bookkeeping
from glassbox.explainers.superpixels import segment
from glassbox.explaining.explanations import PANELS, Explained
from glassbox.explaining.map_tables import may_be_shown
from glassbox.explaining.selection import Cases, Pick
from glassbox.models import Classifier
from glassbox.provenance.resume import Arrays
from glassbox.xai_metrics.intervention import (
    at_random,
    each_region,
    probabilities_behind,
    probabilities_without,
    region_means,
    strongest,
)
from glassbox.xai_metrics.stability import rank_agreement

ABOUT = ["image", "group", "true_class", "predicted_class", "explainer"]
RECOGNISED = [*ABOUT, "other_class", "p_predicted", "p_other", "drop_own", "drop_other"]
MISTAKES = [
    *ABOUT,
    "p_predicted",
    "p_true",
    "p_predicted_after",
    "p_true_after",
    "corrected",
    "corrected_at_random",
    "agreement",
]
REGIONS = ["image", "region", "explained_class", "probability", "probability_without"]
PAIRS = [*ABOUT, "a_class", "b_class", "p_a", "p_b", "agreement"]

SEGMENTS = "segments"  # of an image, beside stacks of masks
Maps = dict[str, dict[int, np.ndarray]]  # (H, W) each, by explainer and class


@dataclass(frozen=True)
class Analyses:
    """One table for each analysis; images by their row in the test split. Maps whose Shapley values do not add up are
    left out, as they are in pictures.

    Attributes:
        recognised: a row for each recognised image: how much less probable its class becomes without the regions with
            the highest Shapley values for it (`drop_own`), and without those for the next class (`drop_other`). An
            image without Shapley values for its next class has no row.
        mistakes: a row for each mistake and explainer: the probabilities without the regions that speak most for the
            predicted class and least for the true one; whether the prediction is right then (`corrected`), and how
            often it is with random regions hidden (`corrected_at_random`). `agreement`: rank correlation of the two
            maps over the regions, NaN when one of them ranks nothing.
        pairs: a row for each image of a pair and explainer: both classes' probabilities and `agreement` of their maps.
        regions: a row for each region of each image that is drawn and class that is explained: the class's probability,
            and that with the region in the training images' mean colour.
        segments: the regions of each image that is drawn, (H, W) labels, in the order of `regions`.
        hidden: for each mistake that is drawn, and explainer, the mask of what was hidden, (H, W) bool.
    """

    recognised: pd.DataFrame
    mistakes: pd.DataFrame
    pairs: pd.DataFrame
    regions: pd.DataFrame
    segments: list[np.ndarray]
    hidden: dict[tuple[int, str], np.ndarray]

    def tables(self) -> dict[str, pd.DataFrame]:
        """The tables by name."""
        return {
            "recognised": self.recognised,
            "mistakes": self.mistakes,
            "pairs": self.pairs,
            "regions": self.regions,
        }

    def arrays(self) -> dict[str, np.ndarray]:
        """`regions` (D, H, W) uint16, of the images that are drawn."""
        return {"regions": np.stack(self.segments).astype(np.uint16)} if self.segments else {}


@dataclass(frozen=True)
class _Case:
    """A picked image: its (K,) probabilities `p`, true and predicted class, maps, regions (H, W), and class names."""

    pick: Pick
    p: np.ndarray
    truth: int
    guess: int
    maps: Maps
    segments: np.ndarray
    classes: tuple[str, ...]

    def masks(self, setup: Setup) -> dict[str, dict[Any, np.ndarray]]:
        """Pixels to hide, (H, W) bool each: in a recognised image those of the highest Shapley values, by class; in a
        mistake random regions, and what speaks against the truth, by explainer."""
        how, row = setup.settings.analyses, self.pick.row
        guess, other = np.argsort(-self.p, kind="stable")[:2].tolist()

        def top(values: np.ndarray) -> np.ndarray:
            return strongest(values, self.segments, how.hidden, derive(setup.seed, "explain", "ties", row))

        masks: dict[str, dict[Any, np.ndarray]] = {"recognised": {}, "drawn": {}, "mistaken": {}}
        if guess == self.truth and {guess, other} <= set(self.maps.get(PANELS, {})):
            masks["recognised"] = {label: top(self.maps[PANELS][label]) for label in (guess, other)}
        if guess != self.truth:
            seed = derive(setup.seed, "explain", "hidden", row)
            masks["drawn"] = dict(enumerate(at_random(self.segments, how.hidden, how.random_draws, seed)))
            masks["mistaken"] = {
                name: top(by_class[guess] - by_class[self.truth])
                for name, by_class in self.maps.items()
                if {guess, self.truth} <= set(by_class)
            }
        return masks

    def about(self) -> dict[str, Any]:
        """The columns that all tables have."""
        return {
            "image": self.pick.row,
            "group": self.pick.group,
            "true_class": self.classes[self.truth],
            "predicted_class": self.classes[self.guess],
        }

    def recognised(self, other: int, after: np.ndarray) -> dict[str, Any]:
        """Its row of the table, from the probabilities (2, K) without the regions of its class and of the `other`."""
        return self.about() | {
            "explainer": PANELS,
            "other_class": self.classes[other],
            "p_predicted": self.p[self.guess],
            "p_other": self.p[other],
            "drop_own": self.p[self.guess] - after[0, self.guess],
            "drop_other": self.p[self.guess] - after[1, self.guess],
        }

    def mistakes(self, names: list[str], after: np.ndarray, drawn: np.ndarray) -> Iterator[dict[str, Any]]:
        """Its rows of the table, from the probabilities without the regions that each explainer names (N, K), and
        without random regions (M, K)."""
        by_chance = (drawn.argmax(axis=1) == self.truth).mean()
        for name, p in zip(names, after, strict=True):
            yield self.about() | {
                "explainer": name,
                "p_predicted": self.p[self.guess],
                "p_true": self.p[self.truth],
                "p_predicted_after": p[self.guess],
                "p_true_after": p[self.truth],
                "corrected": int(p.argmax() == self.truth),
                "corrected_at_random": by_chance,
                "agreement": self.agreement(name, self.guess, self.truth),
            }

    def pairs(self, a: int, b: int) -> Iterator[dict[str, Any]]:
        """Its rows of the table."""
        for name, by_class in self.maps.items():
            if {a, b} <= set(by_class):
                yield self.about() | {
                    "explainer": name,
                    "a_class": self.classes[a],
                    "b_class": self.classes[b],
                    "p_a": self.p[a],
                    "p_b": self.p[b],
                    "agreement": self.agreement(name, a, b),
                }

    def regions(self, after: np.ndarray) -> Iterator[dict[str, Any]]:
        """Its rows of the table, from the probabilities (S, K) without each region."""
        for region, p in enumerate(after):
            for label in self.pick.targets:
                about = {"image": self.pick.row, "region": region, "explained_class": self.classes[label]}
                yield about | {"probability": self.p[label], "probability_without": p[label]}

    def agreement(self, name: str, a: int, b: int) -> float:
        return agreement(self.maps[name][a], self.maps[name][b], self.segments)


def analyse(setup: Setup, cases: Cases, results: list[Explained], books: Bookkeeping = ALONE) -> Analyses:
    """Predict again, with regions hidden; a step is a picked image."""
    begun: deque[tuple[_Case, dict[str, dict[Any, np.ndarray]]]] = deque()

    def items() -> Iterator[tuple[None, tuple[torch.Tensor, dict[str, np.ndarray]]]]:
        for pick, maps in zip(cases.picks, maps_of_each(cases.picks, results), strict=True):
            image, p, truth = cases.images[pick.row], cases.probabilities[pick.row], int(cases.labels[pick.row])
            segments = segment(image.numpy(), setup.settings.superpixels)
            case = _Case(pick, p, truth, int(p.argmax()), maps, segments, cases.classes)
            begun.append((case, masks := case.masks(setup)))
            stacks = {name: np.stack([*some.values()]) for name, some in masks.items() if some}
            yield None, (image, stacks | ({SEGMENTS: segments} if pick.drawn else {}))

    recognised, mistakes, pairs, regions, segmented, hidden = [], [], [], [], [], {}
    work = partial(_without, setup.settings.faithfulness.blur_sigma, setup.mean, setup.batch_size)
    for after in books.keep.each("without", work, setup.classifier, items()):
        case, masks = begun.popleft()
        if case.pick.pair:
            pairs += case.pairs(*case.pick.pair)
        if masks["recognised"]:
            recognised.append(case.recognised([*masks["recognised"]][1], after["recognised"]))
        if masks["mistaken"]:
            mistakes += case.mistakes([*masks["mistaken"]], after["mistaken"], after["drawn"])
            hidden |= {(case.pick.row, name): mask for name, mask in masks["mistaken"].items() if case.pick.drawn}
        if case.pick.drawn:
            regions += case.regions(after[SEGMENTS])
            segmented.append(case.segments)
        books.progress(1)
    return Analyses(
        pd.DataFrame(recognised, columns=RECOGNISED),
        pd.DataFrame(mistakes, columns=MISTAKES),
        pd.DataFrame(pairs, columns=PAIRS),
        pd.DataFrame(regions, columns=REGIONS),
        segmented,
        hidden,
    )


def _without(
    blur_sigma: float,
    mean: tuple[float, ...],
    batch_size: int,
    classifier: Classifier,
    _: None,
    masked: tuple[torch.Tensor, dict[str, np.ndarray]],
) -> Arrays:
    """Probabilities of an image: (M, K) for each stack of masks (M, H, W), blurred there, and (S, K) for its `SEGMENTS`
    (H, W), one of them at a time in the mean colour."""
    image, stacks = masked
    return {
        name: probabilities_behind(classifier, image, each_region(masks), mean, batch_size)
        if name == SEGMENTS
        else probabilities_without(classifier, image, masks, blur_sigma, batch_size)
        for name, masks in stacks.items()
    }


def maps_of_each(picks: list[Pick], results: list[Explained]) -> Iterator[Maps]:
    """For each pick the maps that may be shown, by explainer, the control left out, and by explained class; Shapley
    values of further classes included."""
    shown = [result for result in results if result.name != CONTROL]
    further = {result.name: result.panels.rows() for result in shown if result.panels}
    start = 0
    for pick in picks:
        maps = {}
        for result in shown:
            rows, targets, source = range(start, start + len(pick.targets)), pick.targets, result.attribution
            if result.panels:
                rows, source = next(further[result.name]), result.panels.attribution
                targets = result.panels.request.targets[rows.start : rows.stop].tolist()
            maps[result.name] = {
                target: source.maps[row] for target, row in zip(targets, rows, strict=True) if may_be_shown(source, row)
            }
        start += len(pick.targets)
        yield maps


def agreement(a: np.ndarray, b: np.ndarray, segments: np.ndarray) -> float:
    """Rank correlation of two maps' means over the regions; NaN when one ranks nothing."""
    means = [region_means(values, segments) for values in (a, b)]
    return rank_agreement(np.stack(means)) if all(np.ptp(values) > 0 for values in means) else float("nan")
