"""From a source to three splits and a data card."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from glassbox.config.data import Data
from glassbox.core import files
from glassbox.core.text import counted, listed
from glassbox.data import splits
from glassbox.data.base import EMPTY, MARKED, NO_MASK, SPLITS, VANISHED, Asked, Images
from glassbox.data.loading import load_source
from glassbox.data.store import Description
from glassbox.data.user_paths import shown

FIRST, TOLD = 20, 5  # names in the data card, and in print
STATES_IN_WORDS = {
    "no_mask": "no mask",
    EMPTY: "an empty mask",
    VANISHED: "a mask whose marked pixels are all cut off",
}


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
        "masks": _masks(images),
        "groups": _groups(images),
        **prepared.counts,
    }


def _masks(images: Images) -> dict[str, Any] | None:
    """The number of test images whose mask is not empty, in all and by class. None where images have no masks. Where
    masks come from files also, of all images, how many have no mask, an empty one, or one that was cut off, by class
    and with the first names; and the masks without an image."""
    if images.masks is None:
        return None
    test = only(images, "test")
    marked = test.masks.any(axis=(1, 2))
    counts: dict[str, Any] = {"test_images": int(marked.sum()), "by_class": _by_class(test, marked)}
    if images.mask_states is None:
        return counts
    for state in (NO_MASK, EMPTY, VANISHED):
        rows = np.flatnonzero(images.mask_states == state)
        names = [images.names[row] for row in rows[:FIRST]]
        by_class = _by_class(images, images.mask_states == state)
        counts[state.replace(" ", "_")] = {"count": len(rows), "by_class": by_class, "first": names}
    return counts | {"unused": {"count": len(images.unused_masks), "first": list(images.unused_masks[:FIRST])}}


def _by_class(images: Images, chosen: np.ndarray) -> list[int]:
    return np.bincount(images.labels[chosen], minlength=len(images.classes)).tolist()


def mask_table(images: Images) -> pd.DataFrame | None:
    """The images without a marked pixel, and what became of their masks: `file`, `split`, `class`, `mask`. None where
    masks do not come from files."""
    if images.mask_states is None:
        return None
    rows = np.flatnonzero(images.mask_states != MARKED)
    return pd.DataFrame(
        {
            "file": [images.names[row] for row in rows],
            "split": images.splits[rows],
            "class": [images.classes[label] for label in images.labels[rows]],
            "mask": images.mask_states[rows],
        }
    )


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
        lines += _about_masks(masks, card["classes"])
    if groups := card["groups"]:
        sizes = ", ".join(f"{some} {split}" for split, some in groups["by_split"].items())
        lines.append(f"groups: {groups['count']}, none in two splits ({sizes})")
    return lines


def _about_masks(masks: dict[str, Any], classes: list[str]) -> Iterator[str]:
    """Sentences about images without a marked pixel, and masks without an image; none if masks are not from files."""
    for key, what in STATES_IN_WORDS.items():
        if key in masks and masks[key]["count"]:
            about, n = masks[key], masks[key]["count"]
            of = listed([f"{some:,} of {name}" for name, some in zip(classes, about["by_class"], strict=True) if some])
            more = " …" if n > TOLD else ""
            names = f": {', '.join(map(shown, about['first'][:TOLD]))}{more}" if key == VANISHED else ""
            yield f"masks: {counted(n)} {'has' if n == 1 else 'have'} {what} ({of}){names}"
    if "unused" in masks and (n := masks["unused"]["count"]):
        names = ", ".join(map(shown, masks["unused"]["first"][:TOLD]))
        yield f"masks: {n:,} {'belongs' if n == 1 else 'belong'} to no image: {names}{' …' if n > TOLD else ''}"


def test_digest(pixels: np.ndarray, labels: np.ndarray) -> str:
    """SHA-256 of the test images (N, H, W, 3) and their labels (N,): studies that share it can be compared."""
    return files.digest(np.ascontiguousarray(pixels).tobytes(), labels.astype(np.int64).tobytes())


def only(images: Images, split: str) -> Images:
    """The images of one split."""
    return images.take(np.flatnonzero(images.splits == split))
