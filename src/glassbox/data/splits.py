"""Which image belongs to which split: limited, drawn by seed, and checked for copies of the same image."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from sklearn.model_selection import train_test_split

from glassbox.data.base import SPLITS, Images
from glassbox.errors import UserError
from glassbox.seeds import derive


def limit(images: Images, n: int | None, seed: int) -> np.ndarray:
    """Positions of `n` images with the same shares of splits and classes; of all when `n` is None or larger."""
    if n is None or n >= len(images):
        return np.arange(len(images))
    strata = (
        images.labels
        if images.splits is None
        else np.char.add(np.char.add(images.splits, "/"), images.labels.astype(str))
    )
    return np.sort(_draw(np.arange(len(images)), strata, n, derive(seed, "limit"), f"data.limit = {n}", images))


def assign(images: Images, test_fraction: float, validation_fraction: float, seed: int) -> Images:
    """Give every image a split, stratified by class.

    A split that the source names is kept. Otherwise `test_fraction` of all images become "test", then
    `validation_fraction` of what is left for training becomes "validation".

    Raises:
        UserError: a class has no image in one of the splits.
    """
    splits = np.full(len(images), "train", dtype="<U10")
    if images.splits is not None:
        splits[:] = images.splits
    for split, fraction in (("test", test_fraction), ("validation", validation_fraction)):
        if (splits == split).any():
            continue
        rows = np.flatnonzero(splits == "train")
        n = round(len(rows) * fraction)
        chosen = _draw(
            rows, images.labels[rows], n, derive(seed, "split", split), f"data.{split}_fraction = {fraction}", images
        )
        splits[chosen] = split
    divided = replace(images, splits=splits)
    check_classes(divided)
    return divided


def check_source(images: Images, folder: str | None = None) -> None:
    """Every class must have the images that its splits need, before any is drawn.

    Args:
        images: of a source.
        folder: where images come from class folders, that of all of them, for the sentence.

    Raises:
        UserError: a split that the source names has no image of a class, or too few are left to draw the others from.
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
                    f"{_listed(named)}"
                )
            rows = rows & (images.splits == "train")
        n, needed = int(rows.sum()), 1 + len(drawn)
        if n < needed:
            kind = "training " if named else ""
            raise UserError(
                f"{where} has {n} {kind}image{'' if n == 1 else 's'}: it needs at least {needed}, one for each of "
                f"{_listed(['train', *drawn])}, which are drawn from them"
            )


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


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


def _draw(rows: np.ndarray, strata: np.ndarray, n: int, seed: int, parameter: str, images: Images) -> np.ndarray:
    """`n` of `rows`, with the shares of `strata`."""
    smallest, members = min(zip(*np.unique(strata, return_counts=True), strict=True), key=lambda pair: pair[1])
    kinds = len(np.unique(strata))
    if members < 2 or n < kinds or len(rows) - n < kinds:
        split, _, label = str(smallest).rpartition("/")
        name = f"{split} {images.classes[int(label)]}".strip()
        raise UserError(
            f"{parameter} cannot be drawn from {len(rows)} images in {kinds} strata, the smallest ({name}) with "
            f"{members}: it must leave at least one image of each on both sides"
        )

    chosen, _ = train_test_split(rows, train_size=n, stratify=strata, random_state=seed)
    return chosen


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
