"""Before explanations are compared with masks of people: does the model use what is marked?

A mask is the truth about a model only if the model uses what lies inside; otherwise a faithful explainer would get a
low score. So the marked region is hidden: the model must then fail, and must not fail where as much is hidden elsewhere
in the image. Without that, agreement with the masks is plausibility (Jacovi & Goldberg 2020, Towards Faithfully
Interpretable NLP Systems): it tells where people look, and ranks no explainer.

What hides a region can mislead in two ways. Blur and one colour may leave its shape visible (Rong et al. 2022), so that
the model does not fail; or they bring something new into the image, so that it does. Three fillings that differ in this
are therefore tried, and two must agree.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import scipy
import torch

from glassbox.core.seeds import derive
from glassbox.core.text import counted
from glassbox.data.batches import to_float
from glassbox.data.store import Split
from glassbox.evaluation.chance_level import FEWEST, balanced_interval
from glassbox.explainers.base import Setup
from glassbox.models import Classifier, probabilities
from glassbox.provenance.resume import Arrays, Keep, unkept
from glassbox.scoring import planted_gate
from glassbox.scoring.verdicts import PLAUSIBILITY, TRUTH
from glassbox.statistics.bootstrap import INTERVAL
from glassbox.statistics.outcomes import UNDECIDED
from glassbox.statistics.paired import share_interval
from glassbox.xai_metrics.faithfulness import replaced
from glassbox.xai_metrics.road import impute

FILLINGS = ("inpainted", "blurred", "mean colour")
AGREE = 2  # fillings that must have the same outcome
MOST = 200  # images
DRAWS = 4  # other places of an image where as much is hidden
# Shares of the way from "all recognised" to chance: at least so far must the model fall if the marked region is hidden,
# and at most so far if as much is hidden elsewhere.
FALL, STAY = 1 / 2, 1 / 4


@dataclass(frozen=True)
class Effect:
    """What a filling does to the images. Shares of images that are still recognised, 0..1, are means over classes, with
    95 % intervals.

    Attributes:
        filling: its name.
        hidden, hidden_low, hidden_high: where the marked region is hidden.
        elsewhere, elsewhere_low, elsewhere_high: where as much is hidden elsewhere, a mean over `DRAWS` places.
        difference, difference_low, difference_high: elsewhere - hidden, image by image.
        drop_hidden, drop_elsewhere: by how much the class's probability falls, mean over images.
        outcome: "truth", "plausibility" or "undecided".
    """

    filling: str
    hidden: float
    hidden_low: float
    hidden_high: float
    elsewhere: float
    elsewhere_low: float
    elsewhere_high: float
    difference: float
    difference_low: float
    difference_high: float
    drop_hidden: float
    drop_elsewhere: float
    outcome: str


def applies(test: Split) -> bool:
    """Whether there are masks, and none of planted evidence, which has a gate of its own."""
    return test.masks is not None and not planted_gate.applies(test)


def measure(setup: Setup, test: Split, predicted: np.ndarray, n_classes: int, keep: Keep = unkept) -> dict[str, Any]:
    """Hide the marked regions of recognised test images, whose predicted classes (N,) are given.

    Returns:
        `outcome`, of two fillings or more: "truth", "plausibility" or else "undecided"; `images`, `classes`, what was
        measured; `too_large`, recognised images that are left out because more than half of them is marked; `chance`,
        that of a guess among all classes; `below` and `above`, the limits of the shares; `fillings`, see `Effect`;
        `sentence`, the result in words.
    """
    rows, too_large = choose(test, predicted, setup.seed)
    chance = 1 / n_classes
    below, above = 1 - FALL * (1 - chance), 1 - STAY * (1 - chance)
    labels = test.labels.numpy()[rows]
    found: dict[str, Any] = {
        "outcome": UNDECIDED,
        "images": len(rows),
        "classes": len(np.unique(labels)),
        "too_large": too_large,
        "chance": chance,
        "below": below,
        "above": above,
        "fillings": [],
    }
    if len(rows):
        work = partial(_without, setup.settings.faithfulness.blur_sigma, setup.mean, setup.batch_size)
        parts = [*keep.each("masks", work, setup.classifier, _items(test, rows, setup.seed))]
        kept, drops = (np.stack([part[name] for part in parts], axis=1) for name in ("kept", "drops"))  # (F, N, 1 + D)
        effects = [
            _effect(filling, some, drop, labels, below, above)
            for filling, some, drop in zip(FILLINGS, kept, drops, strict=True)
        ]
        outcomes = [effect.outcome for effect in effects]
        agreed = [outcome for outcome in (TRUTH, PLAUSIBILITY) if outcomes.count(outcome) >= AGREE]
        found |= {"outcome": (agreed or [UNDECIDED])[0], "fillings": [asdict(effect) for effect in effects]}
    return found | {"sentence": sentence(found)}


def choose(test: Split, predicted: np.ndarray, seed: int) -> tuple[np.ndarray, int]:
    """Rows of recognised test images with a mask, equally many of each class as far as there are, and the number of
    those of which more than half is marked, which are left out. A class with fewer than `FEWEST` is left out."""
    labels = test.labels.numpy()
    marked = test.masks.numpy().astype(bool).mean(axis=(1, 2))
    of_use = (predicted == labels) & (marked > 0)
    rng = np.random.default_rng(derive(seed, "score", "masks"))
    counts = np.bincount(labels[of_use & (marked <= 0.5)])
    classes = rng.permutation(np.flatnonzero(counts >= FEWEST))[: MOST // FEWEST]
    each = MOST // max(1, len(classes))
    rows = [
        rng.permutation(np.flatnonzero(of_use & (marked <= 0.5) & (labels == label)))[:each]
        for label in sorted(classes)
    ]
    return np.concatenate([np.zeros(0, int), *rows]), int((of_use & (marked > 0.5)).sum())


def elsewhere(mask: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """Random other places (draws, H, W) bool in an image for a mask (H, W) bool of at most half of it: the same shape
    where it does not overlap the mask, or if it fits nowhere as many pixels around a random one."""
    rng, area = np.random.default_rng(seed), int(mask.sum())
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    shape = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    overlap = scipy.signal.fftconvolve(mask.astype(float), shape[::-1, ::-1].astype(float), mode="valid")
    free = np.argwhere(overlap < 0.5)  # upper left corners; the overlap is a whole number of pixels but for rounding
    places = np.zeros((draws, *mask.shape), bool)
    if len(free):
        h, w = shape.shape
        corners = free[rng.choice(len(free), draws, replace=len(free) < draws)]
        for place, (y, x) in zip(places, corners.tolist(), strict=True):
            place[y : y + h, x : x + w] = shape
        return places
    outside = np.argwhere(~mask)
    for place in places:
        distances = np.linalg.norm(outside - outside[rng.integers(len(outside))], axis=1)
        place[tuple(outside[np.argsort(distances, kind="stable")[:area]].T)] = True
    return places


def sentence(found: dict[str, Any]) -> str:
    """The result of `measure` in words."""
    doubt = "localization is reported as plausibility, and no verdict rests on it"
    if not found["fillings"]:
        return (
            f"It is undecided whether the model uses what the masks mark, so {doubt}: no class has {FEWEST} recognised "
            "test images with a mask of at most half of the image."
        )
    hidden, other = (_range(found, name) for name in ("hidden", "elsewhere"))
    effect = (
        f"on {counted(found['images'], 'recognised test image')}, hiding the marked region leaves {hidden} recognised "
        f"(the limit is {100 * found['below']:.0f} %), hiding as much elsewhere {other} (the limit is "
        f"{100 * found['above']:.0f} %)"
    )
    if found["outcome"] == TRUTH:
        return f"The model uses what the masks mark, so localization counts as truth: {effect}."
    if found["outcome"] == PLAUSIBILITY:
        return (
            f"Localization is plausibility, and no verdict rests on it: {effect}. The maps are compared with where "
            "people look, not with what the model is known to use."
        )
    return f"It is undecided whether the model uses what the masks mark, so {doubt}: {effect}."


def _range(found: dict[str, Any], name: str) -> str:
    low, high = (round(100 * edge(row[name] for row in found["fillings"])) for edge in (min, max))
    return f"{low} %" if low == high else f"{low} to {high} %"


def _items(test: Split, rows: np.ndarray, seed: int) -> Iterator[tuple[None, tuple[np.ndarray, np.ndarray, int, int]]]:
    for row in rows.tolist():
        mask = test.masks[row].numpy().astype(bool)
        yield None, (test.images[row].numpy(), mask, int(test.labels[row]), derive(seed, "score", "masks", row))


def _without(
    blur_sigma: float,
    mean: tuple[float, ...],
    batch_size: int,
    classifier: Classifier,
    _: None,
    item: tuple[np.ndarray, np.ndarray, int, int],
) -> Arrays:
    """For an image (H, W, 3) uint8, its mask, class and seed: whether it is still recognised without the marked region,
    and without each of the other places, and by how much the class's probability falls, (F, 1 + D) each for F fillings
    and D places."""
    image, mask, label, seed = item
    places = torch.from_numpy(np.concatenate([mask[None], elsewhere(mask, DRAWS, seed)]))  # (1 + D, H, W)
    x = to_float(torch.from_numpy(image[None]))
    fillings = (
        impute(x.expand(len(places), -1, -1, -1), places),
        *(torch.where(places[:, None], replaced(x, by, mean, blur_sigma), x) for by in ("blur", "mean")),
    )
    p = probabilities(classifier, torch.cat([x, *fillings]), batch_size)
    kept, after = (values[1:].view(len(FILLINGS), -1).numpy() for values in (p.argmax(dim=1) == label, p[:, label]))
    return {"kept": kept, "drops": float(p[0, label]) - after}


def _effect(
    filling: str, kept: np.ndarray, drops: np.ndarray, labels: np.ndarray, below: float, above: float
) -> Effect:
    """The effect of a filling on images with these labels (N,): whether they are kept, and drops, (N, 1 + D) each."""
    hidden, other = kept[:, 0].astype(float), kept[:, 1:].mean(axis=1)
    shares = [_share(values, labels) for values in (hidden, other)]
    (_, least, most), (_, least_other, most_other) = shares
    if most < below and least_other > above:
        outcome = TRUTH
    elif least > below or most_other < above:
        outcome = PLAUSIBILITY
    else:
        outcome = UNDECIDED
    difference = (float((other - hidden).mean()), *share_interval(other - hidden))
    drop = (float(drops[:, 0].mean()), float(drops[:, 1:].mean()))
    return Effect(filling, *shares[0], *shares[1], *difference, *drop, outcome)


def _share(values: np.ndarray, labels: np.ndarray) -> tuple[float, float, float]:
    """Mean over the classes of the mean of (N,) values of 0..1, and its interval."""
    _, classes, n = np.unique(labels, return_inverse=True, return_counts=True)
    sums = np.bincount(classes, weights=values)
    low, high = balanced_interval(sums, n, INTERVAL)
    return float((sums / n).mean()), float(low), float(high)
