"""From a source to three splits and a data card."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from glassbox.config.data import Data
from glassbox.core import files
from glassbox.data import splits
from glassbox.data.base import SPLITS, Images
from glassbox.data.loading import load_source
from glassbox.data.store import Description


@dataclass(frozen=True)
class Prepared:
    """Images with splits, where each stood in its source, and the copies among them.

    Attributes:
        images: with splits.
        index: (N,) position of each image in its source.
        duplicates: one row an image of a group of copies: group, split, index, class, dropped.
        counts: numbers of the data card.
    """

    images: Images
    index: np.ndarray
    duplicates: pd.DataFrame
    counts: dict[str, Any]


def prepare(
    settings: Data, seed: int, progress: Callable[[Iterable], Iterable] = iter, kept: str | Path | None = None
) -> Prepared:
    """Load, limit and split the images of a study, and look for copies.

    Args:
        settings: the section `data`.
        seed: of the study.
        progress: wraps the iteration over image files, as tqdm does.
        kept: folder where the images of files are kept as soon as they are read; None keeps nothing.

    Raises:
        UserError: the source cannot be read, or a class is missing from a split, or would be.
    """
    source = load_source(settings, seed, progress, kept)
    splits.check_source(source, settings.path if settings.source == "image_folder" else None)
    index = splits.limit(source, settings.limit, seed)
    limited = source if len(index) == len(source) else source.take(index)
    images = splits.assign(limited, settings.test_fraction, settings.validation_fraction, seed)
    found = splits.find_duplicates(images)
    dropped = found.droppable if settings.drop_duplicates else np.array([], np.int64)
    gone = set(dropped.tolist())
    rows = [
        (group, images.splits[row], int(index[row]), images.classes[images.labels[row]], row in gone)
        for group, members in enumerate(found.groups)
        for row in members
    ]
    counts = {
        "images_in_source": len(source),
        "images_skipped": list(source.skipped),
        "images_unreadable": {
            "count": len(source.unreadable),
            "files": [{"file": name, "reason": reason} for name, reason in source.unreadable],
        },
        "duplicates": {
            "groups": len(found.groups),
            "repeated_within_split": found.within,
            "also_in_another_split": found.across,
            "groups_with_different_labels": found.contradicting,
            "dropped_from_training": len(dropped),
        },
    }
    if len(dropped):
        kept = np.setdiff1d(np.arange(len(images)), dropped)
        images, index = images.take(kept), index[kept]
        splits.check_classes(images, "once data.drop_duplicates has left out the copies, ")
    table = pd.DataFrame(rows, columns=["group", "split", "index", "class", "dropped"])
    return Prepared(images, index, table, counts)


def data_card(description: Description, prepared: Prepared) -> dict[str, Any]:
    """What is in the data, for people and for the report."""
    images = prepared.images
    per_class = {
        split: np.bincount(images.labels[images.splits == split], minlength=len(images.classes)).tolist()
        for split in SPLITS
    }
    test = only(images, "test")
    return {
        "source": description.source,
        "digest": description.digest,
        "test_digest": test_digest(test.pixels, test.labels),
        "image_size": description.image_size,
        "sizes": description.sizes,
        "classes": list(description.classes),
        "images_per_class": per_class,
        "channel_mean": list(description.mean),
        "channel_std": list(description.std),
        "has_masks": description.has_masks,
        "masks": _masks(test),
        "groups": _groups(images),
        **prepared.counts,
    }


def _masks(test: Images) -> dict[str, Any] | None:
    """How many test images have a mask that is not empty, and so many of each class: on others nothing can be said
    about where a map points. None where nobody knows the masks."""
    if test.masks is None:
        return None
    marked = test.masks.any(axis=(1, 2))
    by_class = np.bincount(test.labels[marked], minlength=len(test.classes)).tolist()
    return {"test_images": int(marked.sum()), "by_class": by_class}


def _groups(images: Images) -> dict[str, Any] | None:
    """How many groups there are, in all and in each split; none is in two. None where images have no groups."""
    if images.groups is None:
        return None
    by_split = {split: len(np.unique(images.groups[images.splits == split])) for split in SPLITS}
    return {"count": len(np.unique(images.groups)), "by_split": by_split}


def told(card: dict[str, Any]) -> list[str]:
    """What *prepare* says of masks and groups, from the data card."""
    said, n = [], card["sizes"]["test"]
    if masks := card["masks"]:
        shares = [some / all_ for some, all_ in zip(masks["by_class"], card["images_per_class"]["test"], strict=True)]
        drawn, by_class = round(100 * masks["test_images"] / n), round(100 * sum(shares) / len(shares))
        said.append(
            f"masks: {masks['test_images']} of {n} test images have one that is not empty: of every 100 images drawn "
            f"for score at most about {drawn} can count for localization, by class (score.draw) {by_class}"
        )
    if groups := card["groups"]:
        sizes = ", ".join(f"{some} {split}" for split, some in groups["by_split"].items())
        said.append(f"groups: {groups['count']}, none in two splits ({sizes})")
    return said


def test_digest(pixels: np.ndarray, labels: np.ndarray) -> str:
    """SHA-256 of the test images (N, H, W, 3) and their labels (N,): two studies with the same one can be compared."""
    return files.digest(np.ascontiguousarray(pixels).tobytes(), labels.astype(np.int64).tobytes())


def only(images: Images, split: str) -> Images:
    """The images of one split."""
    return images.take(np.flatnonzero(images.splits == split))
