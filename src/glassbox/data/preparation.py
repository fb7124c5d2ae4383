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
from glassbox.data.base import SPLITS, Asked, Images
from glassbox.data.loading import load_source
from glassbox.data.store import Description


@dataclass(frozen=True)
class Prepared:
    """The images of a study.

    Attributes:
        images: with splits.
        index: (N,) position of each image in its source.
        duplicates: a row for each image of which there are copies: group, split, index, class, dropped.
        counts: numbers for the data card.
    """

    images: Images
    index: np.ndarray
    duplicates: pd.DataFrame
    counts: dict[str, Any]


def prepare(
    settings: Data, seed: int, progress: Callable[[Iterable], Iterable] = iter, kept: str | Path | None = None
) -> Prepared:
    """Load, limit and split the images of a study, and look for copies. Arguments are those of `Asked`.

    Raises:
        UserError: the source cannot be read, or a split has too few images of a class.
    """
    source = load_source(Asked(settings, seed, progress, kept))
    splits.check_source(source, settings.path if settings.source == "image_folder" else None)
    index = splits.limit(source, settings.limit, seed)
    limited = source if len(index) == len(source) else source.take(index)
    images = splits.assign(limited, settings.test_fraction, settings.validation_fraction, seed)
    copies = splits.find_duplicates(images)
    dropped = copies.droppable if settings.drop_duplicates else np.array([], np.int64)
    rows = copies.table.index.to_numpy()
    names = np.array(images.classes, dtype=object)[images.labels[rows]]
    table = copies.table.assign(index=index[rows], dropped=np.isin(rows, dropped))
    table.insert(3, "class", names)
    counts = {
        "images_in_source": len(source),
        "images_skipped": list(source.skipped),
        "images_unreadable": {
            "count": len(source.unreadable),
            "files": [{"file": name, "reason": reason} for name, reason in source.unreadable],
        },
        "duplicates": copies.counts | {"dropped_from_training": len(dropped)},
    }
    if len(dropped):
        left = np.setdiff1d(np.arange(len(images)), dropped)
        images, index = images.take(left), index[left]
        splits.check_classes(images, "without the copies (data.drop_duplicates), ")
    return Prepared(images, index, table, counts)


def data_card(description: Description, prepared: Prepared) -> dict[str, Any]:
    """The content of reports/prepare/card.json."""
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
    """The number of test images whose mask is not empty, in all and by class. None where images have no masks."""
    if test.masks is None:
        return None
    marked = test.masks.any(axis=(1, 2))
    by_class = np.bincount(test.labels[marked], minlength=len(test.classes)).tolist()
    return {"test_images": int(marked.sum()), "by_class": by_class}


def _groups(images: Images) -> dict[str, Any] | None:
    """The number of groups, in all and in each split. None where images have no groups."""
    if images.groups is None:
        return None
    by_split = {split: len(np.unique(images.groups[images.splits == split])) for split in SPLITS}
    return {"count": len(np.unique(images.groups)), "by_split": by_split}


def told(card: dict[str, Any]) -> list[str]:
    """What *prepare* prints about masks and groups, from the data card."""
    lines, n = [], card["sizes"]["test"]
    if masks := card["masks"]:
        shares = np.divide(masks["by_class"], card["images_per_class"]["test"])
        drawn, by_class = round(100 * masks["test_images"] / n), round(100 * sum(shares) / len(shares))
        lines.append(
            f"masks: {masks['test_images']} of {n} test images have one that is not empty: of every 100 images drawn "
            f"for score at most about {drawn} can count for localization, by class (score.draw) {by_class}"
        )
    if groups := card["groups"]:
        sizes = ", ".join(f"{some} {split}" for split, some in groups["by_split"].items())
        lines.append(f"groups: {groups['count']}, none in two splits ({sizes})")
    return lines


def test_digest(pixels: np.ndarray, labels: np.ndarray) -> str:
    """SHA-256 of the test images (N, H, W, 3) and their labels (N,): studies that share it can be compared."""
    return files.digest(np.ascontiguousarray(pixels).tobytes(), labels.astype(np.int64).tobytes())


def only(images: Images, split: str) -> Images:
    """The images of one split."""
    return images.take(np.flatnonzero(images.splits == split))
