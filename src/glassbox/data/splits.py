"""Which image belongs to which split: drawn by seed, checked for classes that are missing and for copies."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from sklearn.model_selection import train_test_split

from glassbox.core.errors import UserError
from glassbox.core.seeds import derive
from glassbox.core.text import counted, listed
from glassbox.data.base import SPLITS, Images


def limit(images: Images, n: int | None, seed: int) -> np.ndarray:
    """Positions of `n` images with the same shares of splits and classes; of all if `n` is None or larger.

    Raises:
        UserError: a class of a split is too small to be drawn from.
    """
    if n is None or n >= len(images):
        return np.arange(len(images))
    strata = (
        images.labels
        if images.splits is None
        else np.char.add(np.char.add(images.splits, "/"), images.labels.astype(str))
    )
    kinds, members = np.unique(strata, return_counts=True)
    if members.min() < 2 or n < len(kinds) or len(images) - n < len(kinds):
        split, _, label = str(kinds[members.argmin()]).rpartition("/")
        name = f"{split} {images.classes[int(label)]}".strip()
        raise UserError(
            f"data.limit = {n} cannot be drawn from {len(images)} images in {len(kinds)} strata, the smallest ({name}) "
            f"with {members.min()}: it must leave at least one image of each on both sides"
        )
    rows, _ = train_test_split(
        np.arange(len(images)), train_size=n, stratify=strata, random_state=derive(seed, "limit")
    )
    return np.sort(rows)


def assign(images: Images, test_fraction: float, validation_fraction: float, seed: int) -> Images:
    """Give every image a split, stratified by class.

    A split that the source defines is kept. Otherwise `test_fraction` of all images become "test", then
    `validation_fraction` of the remaining training images become "validation", with at least one image of each class in
    each split. Where images have groups, whole groups are drawn, as near to these shares as they allow.

    Raises:
        UserError: a class has too few images or groups, or none in one of the splits.
    """
    splits = np.full(len(images), "train", dtype="<U10")
    if images.splits is not None:
        splits[:] = images.splits
    fractions = {"test": test_fraction, "validation": validation_fraction}
    drawn = [split for split in fractions if not (splits == split).any()]
    for number, split in enumerate(drawn):
        rows, left = np.flatnonzero(splits == "train"), len(drawn) - number
        to_fill = [name for name in SPLITS if name == "train" or name in drawn[number:]]
        _check_enough(images, rows, to_fill, remedy=" (more images, or a larger data.limit)")
        draw = _draw if images.groups is None else _draw_groups
        splits[draw(images, rows, fractions[split], derive(seed, "split", split), left)] = split
    divided = replace(images, splits=splits)
    check_classes(divided, "" if images.groups is None else "with whole groups (data.groups), ")
    assert not _divided_groups(divided)
    return divided


def check_source(images: Images, folder: str | None = None) -> None:
    """Check that a source has enough images of each class, before any is drawn. `folder` is the folder of the class
    folders, if there is one, for the message.

    Raises:
        UserError: a split that the source defines lacks a class, or too few training images are left to draw the other
            splits from; or images of a group are in two splits.
    """
    splits = np.repeat("train", len(images)) if images.splits is None else images.splits
    named = [] if images.splits is None else [split for split in SPLITS if split in splits]
    for label, name in enumerate(images.classes):
        for split in named:
            if split not in splits[images.labels == label]:
                raise UserError(
                    f"{_class(name, folder)} has no image in the {split} split: every class needs at least one in each "
                    f"of {listed(named)}"
                )
    for group, both in _divided_groups(images).items():
        raise UserError(
            f"data.groups: images of the group {group!r} are in the splits {listed(sorted(both))}, which the source "
            "defines: every group must be in one"
        )
    drawn = [split for split in SPLITS if split == "train" or split not in named]
    _check_enough(images, np.flatnonzero(splits == "train"), drawn, folder)


def _divided_groups(images: Images) -> dict[str, np.ndarray]:
    """The groups that have images in several splits, and those splits."""
    if images.groups is None or images.splits is None:
        return {}
    splits = pd.Series(images.splits).groupby(images.groups).unique()
    return splits[splits.map(len) > 1].to_dict()


def _check_enough(
    images: Images, rows: np.ndarray, splits: Sequence[str], folder: str | None = None, remedy: str = ""
) -> None:
    """Raise a UserError unless each class has an image, or a group, among `rows` for each of the splits."""
    kind, units = ("image", np.arange(len(images))) if images.groups is None else ("group", images.groups)
    for label, name in enumerate(images.classes):
        n = len(np.unique(units[rows[images.labels[rows] == label]]))
        if n < len(splits):
            raise UserError(
                f"{_class(name, folder)} has {counted(n, kind if images.splits is None else f'training {kind}')}: it "
                f"needs at least {len(splits)}, one for each of {listed(splits)}, which are drawn from them{remedy}"
            )


def _class(name: str, folder: str | None) -> str:
    return f"class {name!r}" if folder is None else f"the class folder {name!r} of {folder}"


def check_classes(images: Images, when: str = "") -> None:
    """Raise a UserError, whose message `when` begins, if a class is missing from a split."""
    for split in SPLITS:
        missing = sorted(set(range(len(images.classes))) - set(images.labels[images.splits == split].tolist()))
        if missing:
            raise UserError(
                f"{when}the {split} split has no image of class {images.classes[missing[0]]!r}: every class needs at "
                "least one image in train, validation and test (more images, or a larger data.limit, test_fraction or "
                "validation_fraction)"
            )


def _draw(images: Images, rows: np.ndarray, fraction: float, seed: int, left: int) -> np.ndarray:
    """A share of `rows`, equal in every class, but at least one is drawn of each, and at least `left` are left."""
    labels, n_classes = images.labels[rows], len(images.classes)
    members, n = np.bincount(labels, minlength=n_classes), round(len(rows) * fraction)
    # scikit-learn's draw, unless it puts a class on one side only, as it may with few images.
    if n_classes <= n <= len(rows) - n_classes and members.min() >= 2:
        chosen, _ = train_test_split(rows, train_size=n, stratify=labels, random_state=seed)
        drawn = np.bincount(images.labels[chosen], minlength=n_classes)
        if drawn.min() >= 1 and (members - drawn).min() >= left:
            return chosen
    rng, quotas = np.random.default_rng(seed), _quotas(members, n, left)
    return np.concatenate([rng.permutation(rows[labels == label])[:some] for label, some in enumerate(quotas)])


def _quotas(members: np.ndarray, n: int, left: int) -> np.ndarray:
    """The number to draw from each class, (K,): `n` in all by largest remainder, at least one each, `left` are left.

    >>> _quotas(np.array([5, 200, 200]), 81, 2).tolist(), _quotas(np.array([4, 4, 4]), 2, 1).tolist()
    ([1, 40, 40], [1, 1, 1])
    """
    most, share = members - left, n * members / members.sum()
    quotas = np.clip(np.floor(share), 1, most).astype(int)
    n = min(max(n, len(members)), int(most.sum()))
    while (missing := n - quotas.sum()) != 0:
        able = quotas < most if missing > 0 else quotas > 1
        wanted = np.where(able, share - quotas, -np.inf if missing > 0 else np.inf)
        quotas[wanted.argmax() if missing > 0 else wanted.argmin()] += np.sign(missing)
    return quotas


def _draw_groups(images: Images, rows: np.ndarray, fraction: float, seed: int, left: int) -> np.ndarray:
    """Rows of whole groups, as near to `fraction` of every class as they allow.

    Groups are taken in turn, those with the rarest classes first, then the largest. Each goes to the side that brings
    the shares of all classes nearer to `fraction`, but one group of each class is drawn, and `left` are left.
    (scikit-learn's StratifiedGroupKFold has folds of equal size only, and may leave a rare class out of one.)
    """
    names, group = np.unique(images.groups[rows], return_inverse=True)
    counts = np.zeros((len(names), len(images.classes)))  # images
    np.add.at(counts, (group, images.labels[rows]), 1)
    undecided = (counts > 0).sum(axis=0)  # groups of each class
    rarest = np.where(counts > 0, undecided, len(names)).min(axis=1)
    order = np.random.default_rng(seed).permutation(len(names))
    order = order[np.lexsort((-counts[order].sum(axis=1), rarest[order]))]
    shares = np.outer((1 - fraction, fraction), counts.sum(axis=0))  # wanted on the two sides
    sides, needed = np.zeros_like(shares), np.repeat([[left], [1]], len(images.classes), axis=1)
    drawn = np.zeros(len(names), bool)
    for number in order:
        has = counts[number] > 0
        undecided[has] -= 1
        # A side that would lack a class even with all later groups must get this one.
        lacks = (needed > undecided)[:, has].any(axis=1)
        if lacks[0] != lacks[1]:
            side = int(lacks[1])
        else:
            uneven = [
                np.square(np.diff((sides + np.outer(to, counts[number])) / shares, axis=0)).sum() for to in np.eye(2)
            ]
            side = int(uneven[1] < uneven[0])
        sides[side] += counts[number]
        needed[side, has] -= 1
        drawn[number] = side == 1
    return rows[drawn[group]]


@dataclass(frozen=True)
class Duplicates:
    """Exact copies among images, equal in every pixel.

    Attributes:
        table: a row for each image of which there are copies, by its position: `group` of copies and `split`.
        counts: for the data card: groups; images that repeat an earlier one of the same split, and images that also
            occur in another split, by split; groups whose images have different labels.
        droppable: positions of training images to leave out, so that each is trained on once and no test image is.
    """

    table: pd.DataFrame
    counts: dict[str, Any]
    droppable: np.ndarray


def find_duplicates(images: Images) -> Duplicates:
    """Group the images that are equal in every pixel. `images` must have splits."""
    contents = [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in images.pixels]
    table = pd.DataFrame({"content": contents, "split": images.splits, "label": images.labels})
    table = table[table.duplicated("content", keep=False)]
    groups = table.groupby("content", sort=False)
    repeated, in_others = table.duplicated(["content", "split"]), groups["split"].transform("nunique") > 1

    def by_split(rows: pd.Series) -> dict[str, int]:
        return {split: int((rows & (table["split"] == split)).sum()) for split in SPLITS}

    counts = {
        "groups": len(groups),
        "repeated_within_split": by_split(repeated),
        "also_in_another_split": by_split(in_others),
        "groups_with_different_labels": int((groups["label"].nunique() > 1).sum()),
    }
    droppable = table.index[(table["split"] == "train") & (repeated | in_others)].to_numpy()
    of_group = pd.DataFrame({"group": groups.ngroup(), "split": table["split"]}).sort_values("group", kind="stable")
    return Duplicates(of_group, counts, droppable)
