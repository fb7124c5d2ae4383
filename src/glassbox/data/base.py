"""What every image source is asked and yields, and nothing else of it is known further on."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from glassbox.config.data import Data

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
        groups: (N,) text, the same for images of one person or part, which must not be in two splits; None = every
            image stands for itself.
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
    groups: np.ndarray | None = None
    skipped: tuple[str, ...] = ()
    unreadable: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        n = len(self.labels)
        _check("pixels", self.pixels, (n, *self.pixels.shape[1:3], 3), "uint8")
        _check("labels", self.labels, (n,), "int64")
        if n and not 0 <= self.labels.min() <= self.labels.max() < len(self.classes):
            raise ValueError(
                f"labels of images are {self.labels.min()} to {self.labels.max()}, but there are {len(self.classes)} "
                "classes, counted from 0"
            )
        if self.splits is not None:
            _check("splits", self.splits, (n,))
        if self.groups is not None:
            _check("groups", self.groups, (n,))
        if self.masks is not None:
            _check("masks", self.masks, self.pixels.shape[:3])
        for name, pixels in (self.changed | self.arms).items():
            _check(name, pixels, self.pixels.shape, "uint8")
        if self.names is not None and len(self.names) != n:
            raise ValueError(f"there are {len(self.names)} names of images, but {n} images")

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
            groups=None if self.groups is None else self.groups[rows],
            skipped=self.skipped,
            unreadable=self.unreadable,
        )


def _check(name: str, values: np.ndarray, shape: tuple[int, ...], kind: str | None = None) -> None:
    """Whether a part of `Images` is what it must be.

    Raises:
        ValueError: it is not; a source of images has a mistake.
    """
    if values.shape != shape or kind not in (None, str(values.dtype)):
        wanted = f"{shape} {kind or ''}".strip()
        raise ValueError(f"{name} of images are {values.shape} {values.dtype}, but must be {wanted}")
