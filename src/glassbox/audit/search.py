"""Candidates for shortcuts are found in the maps of some images, and tested on others.

A class leans on a candidate if its images lose the class without it, or images of other classes take on the class with
it, more than by a control of the same size. Whether it should lean on it, a person decides.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch

from glassbox.audit import candidates as c
from glassbox.audit.candidates import Candidate, Property, Region
from glassbox.audit.strategies import groups, pooled, relevance_shares
from glassbox.core.seeds import derive
from glassbox.models import Classifier, probabilities
from glassbox.statistics import comparison
from glassbox.statistics.comparison import Comparison
from glassbox.statistics.outcomes import BETTER
from glassbox.statistics.paired import share_interval

IMAGES = 200  # of the class, and of others, on which a candidate is tested, at most
LEAST_CARRIERS = 0.25  # share of the class that carries a candidate, from which it is tested on them alone
FEWEST = 10  # images of other classes that do not, from which it is put on them alone
CONTROLS = 3  # control regions of which the mean is taken
REMOVED, PUT = "removed", "put on others"
LEAST = 0.05  # change of a probability, beyond that by the control, that is worth a finding: tests are against it
COLUMNS = (
    "n",
    "n_others",
    "removed",
    "removed_low",
    "removed_high",
    "removed_p",
    "put",
    "put_low",
    "put_high",
    "put_p",
    "lost",
    "lost_low",
    "lost_high",
    "taken",
    "taken_low",
    "taken_high",
    "confirmed",
)
CARRIED = 0.95  # quantile of other classes' relevance in a region, beyond which an image of the class carries it


def find(
    maps: Mapping[str, np.ndarray], features: np.ndarray | None, images: np.ndarray, labels: np.ndarray, seed: int
) -> list[Candidate]:
    """Candidates of every class, from images whose maps are known.

    Args:
        maps: by explainer, (N, H, W) for the true class of each image.
        features: (N, D) last features, which are grouped, too; None where they are not known.
        images: (N, H, W, 3) uint8.
        labels: (N,) true classes.
        seed: of the spectral clustering.
    """
    shares = {name: relevance_shares(of_one) for name, of_one in maps.items()}
    alike = {name: pooled(of_one) for name, of_one in shares.items()}
    if features is not None:
        alike["last features"] = features
    found: list[Candidate] = []
    for label in np.unique(labels).tolist():
        rows, others = np.flatnonzero(labels == label), labels != label
        grouped = {by: groups(vectors[rows], seed) for by, vectors in alike.items()}
        known: list[np.ndarray] = []
        for name, of_explainer in shares.items():
            sets = {
                f"{name}, grouped by {by}" if number else name: rows[group]
                for by, parts in grouped.items()
                for number, group in enumerate(parts)
            }
            for source, some in sets.items():
                for mask in c.regions(of_explainer[some], of_explainer[others]):
                    if not c.is_known(mask, known):
                        known.append(mask)
                        found.append(_region(label, source, mask, of_explainer, images, labels == label))
        found += [Property(label, "images", name) for name in c.properties(images, labels == label)]
    return found


def test(
    classifier: Classifier,
    candidates: Sequence[Candidate],
    images: np.ndarray,
    labels: np.ndarray,
    *,
    batch_size: int,
    seed: int,
) -> pd.DataFrame:
    """Interventions on images in which the candidates were not found. All tests are one family.

    Args:
        classifier: left as it is.
        candidates: of `find`.
        images, labels: (N, H, W, 3) uint8 and (N,), none of those given to `find`.
        batch_size: images in one forward pass.
        seed: of the images and donors that are drawn.

    Returns:
        A row for each candidate, in their order. `n` images of the class that carry it and `n_others` that do not, see
        `carriers`. By how much the class's probability falls when the candidate is `removed` from the former, beyond
        the control, and rises when it is `put` on the latter, each with its interval (`_low`, `_high`) and `_p`
        corrected by Holm's method. Of the former that are recognised, the share `lost` without the candidate less that
        lost by the control, with its interval; of the latter that are not taken for the class, the share `taken` for it
        with the candidate, less that by the control. `confirmed`: of a region, one of the two probabilities changes in
        that direction by more than `LEAST`, which is what is tested: with a shortcut of half of a class the network has
        something else to go by where it is missing, and other images that get it are taken for the class. Of a property
        both do, for its control, a change the other way, is a change, too.
    """
    measured = [
        _effects(classifier, one, images, labels, batch_size, np.random.default_rng(derive(seed, "audit", str(place))))
        for place, one in enumerate(candidates)
    ]
    family = comparison.compare(
        Comparison((place, what), what, "control", effect[what] - LEAST, higher_is_better=True)
        for place, effect in enumerate(measured)
        for what in (REMOVED, PUT)
    )
    rows = []
    for place, effect in enumerate(measured):
        removed, put = (family.loc[[(place, what)]].iloc[0] for what in (REMOVED, PUT))
        row = {"n": int(removed["n"]), "n_others": int(put["n"])}
        for name, tested in (("removed", removed), ("put", put)):
            ends = {f"{name}_{end}": LEAST + tested[end] for end in ("low", "high")}
            row |= {name: LEAST + tested["difference"], **ends, f"{name}_p": tested["p_holm"]}
        row |= _share("lost", effect["lost"]) | _share("taken", effect["taken"])
        enough = any if isinstance(candidates[place], Region) else all
        rows.append(row | {"confirmed": enough(one["outcome"] == BETTER for one in (removed, put))})
    return pd.DataFrame(rows, columns=COLUMNS)


def _share(name: str, differences: np.ndarray) -> dict[str, float]:
    """The mean of differences (N,) of shares with its interval; NaN without images."""
    if not len(differences):
        return {name: np.nan, f"{name}_low": np.nan, f"{name}_high": np.nan}
    low, high = share_interval(differences)
    return {name: float(differences.mean()), f"{name}_low": low, f"{name}_high": high}


def ranked(candidates: Sequence[Candidate], table: pd.DataFrame) -> list[int]:
    """Rows of the table of `test`: first the candidates that are confirmed, each time the one with the strongest
    effects on probabilities, both taken together. A region that lies within one before it, of the same class, is left
    out."""
    strength = table[["removed", "put"]].sum(axis=1)
    order = table.assign(strength=strength).sort_values(["confirmed", "strength"], ascending=False, kind="stable").index
    kept: list[int] = []
    for place in order:
        one = candidates[place]
        before = [other for other in (candidates[row] for row in kept) if other.label == one.label]
        if isinstance(one, Region) and any(isinstance(o, Region) and c.is_within(one.mask, o.mask) for o in before):
            continue
        kept.append(int(place))
    return kept


def _region(
    label: int, source: str, mask: np.ndarray, shares: np.ndarray, images: np.ndarray, of_class: np.ndarray
) -> Region:
    """A region (H, W) of a class, with what tells its carriers. An image of the class, (N,) bool, is one if its share
    of relevance in the region, from (N, H, W), is beyond the quantile `CARRIED` of that of other classes."""
    inside = shares[:, mask].sum(axis=1)
    carrying = of_class & (inside > np.quantile(inside[~of_class], CARRIED))
    share = float(carrying.sum() / of_class.sum())
    if not carrying.any():
        return Region(label, source, mask, share)
    template = np.zeros(images.shape[1:])
    template[mask] = images[carrying][:, mask].mean(axis=0) - images[~of_class][:, mask].mean(axis=0)
    threshold = float(np.quantile(c.likeness(images[~of_class], template), CARRIED))
    return Region(label, source, mask, share, template, threshold)


def carriers(candidate: Candidate, images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the images (N, H, W, 3) uint8 of the class that carry the candidate, and rows of those of other classes
    that do not, by their pixels. The rows of the whole class where fewer than `LEAST_CARRIERS` of it carry it: with so
    few, it is where the object itself lies in some images, which would be chosen for that. The rows of all others where
    fewer than `FEWEST` do not."""
    carried, of_class = candidate.carried_by(images), labels == candidate.label
    own, others = of_class & carried, ~of_class & ~carried
    if own.sum() < LEAST_CARRIERS * of_class.sum():
        own = of_class
    if others.sum() < FEWEST:
        others = ~of_class
    return np.flatnonzero(own), np.flatnonzero(others)


def _effects(
    classifier: Classifier,
    candidate: Candidate,
    images: np.ndarray,
    labels: np.ndarray,
    batch_size: int,
    rng: np.random.Generator,
) -> dict[str, np.ndarray]:
    """Image by image what the candidate does beyond its control, see `test`."""
    own, others = (rng.permutation(rows)[:IMAGES] for rows in carriers(candidate, images, labels))
    found = {}
    for what, rows, from_rows in ((REMOVED, own, others), (PUT, others, own)):
        if not len(rows) or not len(from_rows):
            found |= {what: np.empty(0), "lost" if what == REMOVED else "taken": np.empty(0)}
            continue
        shown, donors = images[rows], images[rng.choice(from_rows, len(rows))]

        def answers(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            p = probabilities(classifier, torch.from_numpy(np.ascontiguousarray(pixels)), batch_size).numpy()
            return p[:, candidate.label].astype(np.float64), p.argmax(axis=1) == candidate.label

        (_, before), (changed, after) = answers(shown), answers(candidate.changed(shown, donors))
        controls = [answers(candidate.control(shown, donors, rng)) for _ in range(CONTROLS)]
        control = np.mean([p for p, _ in controls], axis=0)
        by_control = np.mean([is_class for _, is_class in controls], axis=0)
        if what == REMOVED:  # of the recognised ones, who is no longer
            found |= {what: control - changed, "lost": (by_control - after)[before]}
        else:
            found |= {what: changed - control, "taken": (after - by_control)[~before]}
    return found
