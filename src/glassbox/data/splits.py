"""Which image belongs to which split: limited, drawn by seed, and checked for copies of the same image."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from sklearn.model_selection import train_test_split

from glassbox.core.errors import UserError
from glassbox.core.seeds import derive
from glassbox.core.text import counted, listed
from glassbox.data.base import SPLITS, Images


def limit(images: Images, n: int | None, seed: int) -> np.ndarray:
    """Positions of `n` images with the same shares of splits and classes; of all when `n` is None or larger."""
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

    A split that the source names is kept. Otherwise `test_fraction` of all images become "test", then
    `validation_fraction` of what is left for training becomes "validation": of every class at least one each, so that
    three images of a class are enough. Where images have groups, whole groups are drawn, as near to these shares of
    each class as they allow.

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
        _check_enough(images, rows, [name for name in SPLITS if name not in fractions or name in drawn[number:]])
        draw = _draw if images.groups is None else _draw_groups
        splits[draw(images, rows, fractions[split], derive(seed, "split", split), left)] = split
    divided = replace(images, splits=splits)
    check_classes(divided, "" if images.groups is None else "with whole groups (data.groups), ")
    assert not _torn(divided)
    return divided


def check_source(images: Images, folder: str | None = None) -> None:
    """Every class must have the images that its splits need, before any is drawn.

    Args:
        images: of a source.
        folder: where images come from class folders, that of all of them, for the sentence.

    Raises:
        UserError: a split that the source names has no image of a class, or too few are left to draw the others from;
            or a group of images is in two splits.
    """
    named = [] if images.splits is None else [split for split in SPLITS if (images.splits == split).any()]
    drawn = [split for split in SPLITS[1:] if split not in named]
    for label, name in enumerate(images.classes):
        where = f"class {name!r}" if folder is None else f"the class folder {name!r} of {folder}"
        rows = images.labels == label
        if named:
            missing = [split for split in named if not (rows & (images.splits == split)).any()]
            if missing:
                raise UserError(
                    f"{where} has no image in the {missing[0]} split: every class needs at least one in each of "
                    f"{listed(named)}"
                )
            rows = rows & (images.splits == "train")
        n, needed = int(rows.sum()), 1 + len(drawn)
        if n < needed:
            kind = "training " if named else ""
            raise UserError(
                f"{where} has {counted(n, f'{kind}image')}: it needs at least {needed}, one for each of "
                f"{listed(['train', *drawn])}, which are drawn from them"
            )
    for group, splits in _torn(images).items():
        raise UserError(
            f"data.groups: images of the group {group!r} are in the splits {listed(splits)}, which the source names: "
            "every group must be in one"
        )


def _torn(images: Images) -> dict[str, list[str]]:
    """The groups of which there are images in more than one split, and those splits."""
    if images.groups is None or images.splits is None:
        return {}
    pairs = sorted(set(zip(images.groups.tolist(), images.splits.tolist(), strict=True)))
    of_group: dict[str, list[str]] = {}
    for group, split in pairs:
        of_group.setdefault(group, []).append(split)
    return {group: splits for group, splits in of_group.items() if len(splits) > 1}


def _check_enough(images: Images, rows: np.ndarray, splits: Sequence[str]) -> None:
    """Of every class there must be an image, or a group, for each of the splits.

    Raises:
        UserError: there are too few.
    """
    for label, name in enumerate(images.classes):
        of_class = rows[images.labels[rows] == label]
        what = "image" if images.groups is None else "group"
        n = len(of_class) if images.groups is None else len(np.unique(images.groups[of_class]))
        if n < len(splits):
            raise UserError(
                f"class {name!r} has {counted(n, what)} to draw from: it needs at least {len(splits)}, "
                f"one for each of {listed(splits)} (more images, or a larger data.limit)"
            )


def check_classes(images: Images, when: str = "") -> None:
    """Every class must be in every split.

    Raises:
        UserError: one is not; `when` begins the sentence.
    """
    for split in SPLITS:
        missing = sorted(set(range(len(images.classes))) - set(images.labels[images.splits == split].tolist()))
        if missing:
            raise UserError(
                f"{when}the {split} split has no image of class {images.classes[missing[0]]!r}: every class needs at "
                "least one image in train, validation and test (more images, or a larger data.limit, test_fraction or "
                "validation_fraction)"
            )


def _draw(images: Images, rows: np.ndarray, fraction: float, seed: int, left: int) -> np.ndarray:
    """A share of `rows`, the same of every class: at least one of each is drawn, and at least `left` are left."""
    labels, n_classes = images.labels[rows], len(images.classes)
    members, n = np.bincount(labels, minlength=n_classes), round(len(rows) * fraction)
    # scikit-learn's draw, unless it gives a class to one side alone, as it may where there are few images.
    if n_classes <= n <= len(rows) - n_classes and members.min() >= 2:
        chosen, _ = train_test_split(rows, train_size=n, stratify=labels, random_state=seed)
        drawn = np.bincount(images.labels[chosen], minlength=n_classes)
        if drawn.min() >= 1 and (members - drawn).min() >= left:
            return chosen
    rng, quotas = np.random.default_rng(seed), _quotas(members, n, left)
    return np.concatenate([rng.permutation(rows[labels == label])[:some] for label, some in enumerate(quotas)])


def _quotas(members: np.ndarray, n: int, left: int) -> np.ndarray:
    """How many to draw of each class, (K,): `n` in all by largest remainder, at least one of each, `left` are left.

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
    """Rows of whole groups, as near to a share of every class as they allow.

    Group by group, those with the rarest classes and the largest first, each goes to the side that brings the shares of
    all classes nearer to `fraction`; but one group of each class is drawn, and `left` are left. (The folds of
    scikit-learn's StratifiedGroupKFold are all alike in size, and a rare class may be missing from one.)
    """
    names, group = np.unique(images.groups[rows], return_inverse=True)
    counts = np.zeros((len(names), len(images.classes)))  # images
    np.add.at(counts, (group, images.labels[rows]), 1)
    undecided = (counts > 0).sum(axis=0)  # groups of each class
    rarest = np.where(counts > 0, undecided, len(names)).min(axis=1)
    order = np.random.default_rng(seed).permutation(len(names))
    order = order[np.lexsort((-counts[order].sum(axis=1), rarest[order]))]
    shares = np.outer((1 - fraction, fraction), counts.sum(axis=0))  # that the two sides should have
    sides, needed = np.zeros_like(shares), np.repeat([[left], [1]], len(images.classes), axis=1)
    drawn = np.zeros(len(names), bool)
    for one in order:
        has = counts[one] > 0
        undecided[has] -= 1
        # A side that would lack a class, even if it got all groups to come, must have this one.
        lacks = (needed > undecided)[:, has].any(axis=1)
        if lacks[0] != lacks[1]:
            side = int(lacks[1])
        else:
            uneven = [
                np.square(np.diff((sides + np.outer(to, counts[one])) / shares, axis=0)).sum() for to in np.eye(2)
            ]
            side = int(uneven[1] < uneven[0])
        sides[side] += counts[one]
        needed[side, has] -= 1
        drawn[one] = side == 1
    return rows[drawn[group]]


@dataclass(frozen=True)
class Duplicates:
    """Exact copies among images, pixel for pixel.

    Attributes:
        groups: positions of the images of each group of copies, two or more.
        within: images that repeat an earlier one of the same split, by split.
        across: images that also occur in another split, by split.
        contradicting: groups whose images carry different labels.
        droppable: training images to leave out so that each image is trained on once and none is tested on.
    """

    groups: list[list[int]]
    within: dict[str, int]
    across: dict[str, int]
    contradicting: int
    droppable: np.ndarray


def find_duplicates(images: Images) -> Duplicates:
    """Group the images that are equal in every pixel. `images` must have splits."""
    by_content: dict[bytes, list[int]] = {}
    for row, image in enumerate(images.pixels):
        by_content.setdefault(hashlib.blake2b(image.tobytes(), digest_size=16).digest(), []).append(row)
    groups = [rows for rows in by_content.values() if len(rows) > 1]
    within = dict.fromkeys(SPLITS, 0)
    across = dict.fromkeys(SPLITS, 0)
    droppable = []
    for rows in groups:
        members = {split: [row for row in rows if images.splits[row] == split] for split in SPLITS}
        for split, own in members.items():
            within[split] += max(len(own) - 1, 0)
            across[split] += len(own) if len(own) < len(rows) else 0
        only_in_training = len(members["train"]) == len(rows)
        droppable += members["train"][1:] if only_in_training else members["train"]
    contradicting = sum(len({int(images.labels[row]) for row in rows}) > 1 for rows in groups)
    return Duplicates(groups, within, across, contradicting, np.array(sorted(droppable), np.int64))
