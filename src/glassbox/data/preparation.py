"""From a source to three splits and a data card."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from glassbox import config, files
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
    settings: config.Data, seed: int, progress: Callable[[Iterable], Iterable] = iter, kept: str | Path | None = None
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
        **prepared.counts,
    }


def test_digest(pixels: np.ndarray, labels: np.ndarray) -> str:
    """SHA-256 of the test images (N, H, W, 3) and their labels (N,): two studies with the same one can be compared."""
    return files.digest(np.ascontiguousarray(pixels).tobytes(), labels.astype(np.int64).tobytes())


def only(images: Images, split: str) -> Images:
    """The images of one split."""
    return images.take(np.flatnonzero(images.splits == split))
