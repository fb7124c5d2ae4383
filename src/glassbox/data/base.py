"""What every image source is asked and yields, and nothing else of it is known further on."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from glassbox.config import Data

SPLITS = ("train", "validation", "test")
NOISE = "noise"  # the arm in which a shortcut of the main images says nothing


@dataclass(frozen=True)
class Asked:
    """What a source is asked for.

    Attributes:
        data: the section of the parameters.
        seed: of the study, for sources that draw.
        progress: wraps the iteration over image files, as tqdm does.
        kept: folder for what a killed process has read of them; None keeps nothing.
    """

    data: "Data"
    seed: int
    progress: Callable[[Iterable], Iterable] = iter
    kept: str | Path | None = None


@dataclass(frozen=True)
class Images:
    r"""Images of one source.

    Attributes:
        pixels: (N, H, W, 3) uint8, red, green, blue in 0..255.
        labels: (N,) int64, positions in `classes`.
        classes: names, in label order.
        splits: (N,) of "train", "validation", "test", where the source decides it; None = all to be drawn. A source
            that names no "validation" leaves it to be drawn from "train".
        masks: (N, H, W) uint8, 1 where the evidence for the label truly is; None where nobody knows.
        changed: the same images after interventions whose effect on the label is known, by name, each like `pixels`.
        arms: the same images as another arm of an experiment shows them in all splits, by name, each like `pixels`.
        names: file names below the folder of the source, where images come from files; bytes that are not UTF-8, and
            carriage returns, which tables of text cannot hold, are escapes like \xff.
        skipped: files beside the images that are none, by name.
        unreadable: files left out because they could not be taken as images: name and reason.
    """

    pixels: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    splits: np.ndarray | None = None
    masks: np.ndarray | None = None
    changed: dict[str, np.ndarray] = field(default_factory=dict)
    arms: dict[str, np.ndarray] = field(default_factory=dict)
    names: tuple[str, ...] | None = None
    skipped: tuple[str, ...] = ()
    unreadable: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        n = len(self.pixels)
        assert self.pixels.dtype == np.uint8
        assert self.pixels.ndim == 4
        assert self.pixels.shape[3] == 3
        assert self.labels.shape == (n,)
        assert self.splits is None or self.splits.shape == (n,)
        assert self.masks is None or self.masks.shape == self.pixels.shape[:3]
        assert all(pixels.shape == self.pixels.shape for pixels in (*self.changed.values(), *self.arms.values()))
        assert self.names is None or len(self.names) == n

    def __len__(self) -> int:
        return len(self.pixels)

    def take(self, rows: np.ndarray) -> "Images":
        """The images at positions `rows`, in that order."""
        return Images(
            pixels=self.pixels[rows],
            labels=self.labels[rows],
            classes=self.classes,
            splits=None if self.splits is None else self.splits[rows],
            masks=None if self.masks is None else self.masks[rows],
            changed={name: pixels[rows] for name, pixels in self.changed.items()},
            arms={name: pixels[rows] for name, pixels in self.arms.items()},
            names=None if self.names is None else tuple(self.names[row] for row in rows),
            skipped=self.skipped,
            unreadable=self.unreadable,
        )
