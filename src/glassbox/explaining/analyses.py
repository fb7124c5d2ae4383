"""The three analyses of the ResNet-50 paper, with numbers: images that were recognised, mistakes, confusable pairs.

Where the paper looks at a picture and says that the model was misled by an ear, here the ear is hidden, and the model
asked again.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch

from glassbox.config.explain import Explain
from glassbox.core.seeds import derive
from glassbox.explainers.catalog import CONTROL
from glassbox.explainers.superpixels import segment
from glassbox.explaining.explanations import PANELS, Explained
from glassbox.explaining.map_tables import may_be_shown
from glassbox.explaining.selection import Cases, Pick
from glassbox.models import Classifier
from glassbox.provenance.resume import Arrays, Keep, unkept
from glassbox.xai_metrics.intervention import at_random, probabilities_without, region_means, strongest
from glassbox.xai_metrics.stability import rank_agreement


@dataclass(frozen=True)
class Analyses:
    """What was found, one table an analysis; images by their row in the test split. Maps whose Shapley values do not
    add up are left out, as they are in pictures.

    Attributes:
        recognised: a row for each recognised image: how much less probable its class becomes when the regions that
            KernelSHAP's map of it ranks first are hidden (`drop_own`), and when those of the map of the next class are
            (`drop_other`). An image whose next
            class KernelSHAP did not explain has no row.
        mistakes: a row for each mistake and explainer: what the model says once the regions are hidden that speak most
            for the class it chose and least for the true one; whether it is right then (`corrected`), and how often it
            is with regions hidden at random (`corrected_at_random`). `agreement`: rank correlation of the two maps over
            the regions, NaN when one of them ranks nothing.
        pairs: a row for each image of a pair and explainer: both classes' probabilities and `agreement` of their maps.
        hidden: for each mistake that is drawn, and explainer, the mask of what was hidden, (H, W) bool.
    """

    recognised: pd.DataFrame
    mistakes: pd.DataFrame
    pairs: pd.DataFrame
    hidden: dict[tuple[int, str], np.ndarray]

    def tables(self) -> dict[str, pd.DataFrame]:
        """By name."""
        return {"recognised": self.recognised, "mistakes": self.mistakes, "pairs": self.pairs}


def analyse(
    classifier: Classifier,
    cases: Cases,
    results: list[Explained],
    settings: Explain,
    batch_size: int,
    seed: int,
    progress: Callable[[int], object] = int,
    keep: Keep = unkept,
) -> Analyses:
    """Ask the classifier again, with regions hidden.

    Args:
        classifier: what was explained.
        cases: images and explained classes.
        results: of every explainer, one map a row of the request.
        settings: the section `explain`.
        batch_size: images in one forward pass.
        seed: of the study.
        progress: called with the number of picked images done since the last call.
        keep: takes the classifier's answers as soon as they are there.
    """
    classes = cases.classes
    recognised, mistakes, pairs, hidden = [], [], [], {}
    begun: deque[tuple[Pick, dict[str, dict[int, np.ndarray]], dict[str, dict[Any, np.ndarray]]]] = deque()

    def items() -> Iterator[tuple[None, tuple[torch.Tensor, dict[str, np.ndarray]]]]:
        for pick, maps in zip(cases.picks, maps_of_each(cases.picks, results), strict=True):
            begun.append((pick, maps, masks := _masks(cases, pick, maps, settings, seed)))
            stacked = {name: np.stack([*some.values()]) for name, some in masks.items() if some}
            yield None, (cases.images[pick.row], stacked)

    work = partial(_without, settings.faithfulness.blur_sigma, batch_size)
    for answers in keep.each("without", work, classifier, items()):
        pick, maps, asked = begun.popleft()
        p, truth = cases.probabilities[pick.row], int(cases.labels[pick.row])
        guess = int(p.argmax())
        segments = segment(cases.images[pick.row].numpy(), settings.superpixels)
        about = {
            "image": pick.row,
            "group": pick.group,
            "true_class": classes[truth],
            "predicted_class": classes[guess],
        }
        if asked["recognised"]:
            after, (_, other) = answers["recognised"][:, guess], asked["recognised"]
            recognised.append(
                about
                | {
                    "explainer": PANELS,
                    "other_class": classes[other],
                    "p_predicted": p[guess],
                    "p_other": p[other],
                    "drop_own": p[guess] - after[0],
                    "drop_other": p[guess] - after[1],
                }
            )
        if guess != truth:
            by_chance = (answers["drawn"].argmax(axis=1) == truth).mean()
            for (name, mask), after in zip(asked["mistaken"].items(), answers.get("mistaken", ()), strict=True):
                if pick.drawn:
                    hidden[pick.row, name] = mask
                mistakes.append(
                    about
                    | {
                        "explainer": name,
                        "p_predicted": p[guess],
                        "p_true": p[truth],
                        "p_predicted_after": after[guess],
                        "p_true_after": after[truth],
                        "corrected": int(after.argmax() == truth),
                        "corrected_at_random": by_chance,
                        "agreement": _agreement(maps[name][guess], maps[name][truth], segments),
                    }
                )
        if pick.pair is not None:
            a, b = pick.pair
            for name, by in [(name, by) for name, by in maps.items() if {a, b} <= set(by)]:
                pairs.append(
                    about
                    | {
                        "explainer": name,
                        "a_class": classes[a],
                        "b_class": classes[b],
                        "p_a": p[a],
                        "p_b": p[b],
                        "agreement": _agreement(by[a], by[b], segments),
                    }
                )
        progress(1)
    tables = (
        pd.DataFrame(rows, columns=names)
        for rows, names in zip((recognised, mistakes, pairs), (RECOGNISED, MISTAKES, PAIRS), strict=True)
    )
    return Analyses(*tables, hidden)


def _masks(
    cases: Cases, pick: Pick, maps: dict[str, dict[int, np.ndarray]], settings: Explain, seed: int
) -> dict[str, dict[Any, np.ndarray]]:
    """What is to be hidden in a picked image, (H, W) bool each: of a recognised one what KernelSHAP's maps rank first,
    by class; of a mistake regions drawn at random, and what speaks against the truth, by explainer."""
    p, truth, how = cases.probabilities[pick.row], int(cases.labels[pick.row]), settings.analyses
    guess, other = np.argsort(-p, kind="stable")[:2].tolist()
    segments = segment(cases.images[pick.row].numpy(), settings.superpixels)

    def named(values: np.ndarray) -> np.ndarray:
        return strongest(values, segments, how.hidden, derive(seed, "explain", "ties", pick.row))

    found: dict[str, dict[Any, np.ndarray]] = {"recognised": {}, "drawn": {}, "mistaken": {}}
    if guess == truth and {guess, other} <= set(maps.get(PANELS, {})):
        found["recognised"] = {label: named(maps[PANELS][label]) for label in (guess, other)}
    if guess != truth:
        drawn = at_random(segments, how.hidden, how.random_draws, derive(seed, "explain", "hidden", pick.row))
        found["drawn"] = dict(enumerate(drawn))
        found["mistaken"] = {n: named(by[guess] - by[truth]) for n, by in maps.items() if {guess, truth} <= set(by)}
    return found


def _without(
    blur_sigma: float,
    batch_size: int,
    classifier: Classifier,
    _: None,
    asked: tuple[torch.Tensor, dict[str, np.ndarray]],
) -> Arrays:
    """(M, K) probabilities of an image for each stack of masks (M, H, W)."""
    image, stacks = asked
    return {
        name: probabilities_without(classifier, image, masks, blur_sigma, batch_size) for name, masks in stacks.items()
    }


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
PAIRS = [*ABOUT, "a_class", "b_class", "p_a", "p_b", "agreement"]


def maps_of_each(picks: list[Pick], results: list[Explained]) -> Iterator[dict[str, dict[int, np.ndarray]]]:
    """For each pick the maps that may be shown, by explainer, the control left out, and by explained class;
    KernelSHAP's of all classes that it was asked for."""
    shown = [result for result in results if result.name != CONTROL]
    wider = {result.name: result.panels.rows() for result in shown if result.panels}
    start = 0
    for pick in picks:
        maps = {}
        for result in shown:
            rows, targets, source = range(start, start + len(pick.targets)), pick.targets, result.attribution
            if result.panels:
                rows, source = next(wider[result.name]), result.panels.attribution
                targets = result.panels.request.targets[rows.start : rows.stop].tolist()
            maps[result.name] = {
                target: source.maps[row] for target, row in zip(targets, rows, strict=True) if may_be_shown(source, row)
            }
        start += len(pick.targets)
        yield maps


def _agreement(one: np.ndarray, other: np.ndarray, segments: np.ndarray) -> float:
    """Rank correlation of two maps' means over the regions; NaN when one ranks nothing."""
    means = [region_means(values, segments) for values in (one, other)]
    return rank_agreement(np.stack(means)) if all(np.ptp(values) > 0 for values in means) else float("nan")
