"""What every image source takes and returns."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from glassbox.config.data import Data

SPLITS = ("train", "validation", "test")
# What became of the mask of an image in a file: all that is marked may have been cut off ("vanished").
MARKED, EMPTY, VANISHED, NO_MASK = MASK_STATES = ("marked", "empty", "vanished", "no mask")
NOISE = "noise"  # the arm in which the shortcut is independent of the class


@dataclass(frozen=True)
class Asked:
    """What a source takes.

    Attributes:
        data: the section `data` of the parameters.
        seed: the study's seed, for sources that draw at random.
        progress: wraps the iteration over image files, as tqdm does.
        kept: folder where image files are kept once they are read, for the next process if this one is killed; None
            keeps nothing.
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
        splits: (N,) of "train", "validation", "test" if the source defines splits; None = all are drawn. Without
            "validation", it is drawn from "train".
        masks: (N, H, W) uint8, 1 at the evidence for the label; None where it is not known.
        mask_states: (N,) of `MASK_STATES` where masks come from files.
        unused_masks: names of masks that belong to no image.
        changed: by name, the images after an intervention whose effect on the label is known, each like `pixels`.
        arms: by name, the images of all splits in another arm of an experiment, each like `pixels`.
        names: file names relative to the source's folder, where images come from files; bytes that are not UTF-8 and
            carriage returns, which tables of text cannot hold, are escapes like \xff.
        groups: (N,) text, equal for images that must be in the same split, as those of one person; None = no groups.
        skipped: names of files beside the images.
        unreadable: image files that were left out: name and reason.
    """

    pixels: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    splits: np.ndarray | None = None
    masks: np.ndarray | None = None
    mask_states: np.ndarray | None = None
    unused_masks: tuple[str, ...] = ()
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
        shapes = dict.fromkeys(("splits", "groups", "mask_states"), (n,)) | {"masks": self.pixels.shape[:3]}
        for name, shape in shapes.items():
            if (values := getattr(self, name)) is not None:
                _check(name, values, shape)
        for name, pixels in (self.changed | self.arms).items():
            _check(name, pixels, self.pixels.shape, "uint8")
        if self.names is not None and len(self.names) != n:
            raise ValueError(f"there are {len(self.names)} names of images, but {n} images")

    def __len__(self) -> int:
        return len(self.pixels)

    def take(self, rows: np.ndarray) -> "Images":
        """The images at positions `rows`, in that order."""
        optional = {name: getattr(self, name) for name in ("splits", "masks", "mask_states", "groups")}
        return replace(
            self,
            pixels=self.pixels[rows],
            labels=self.labels[rows],
            changed={name: pixels[rows] for name, pixels in self.changed.items()},
            arms={name: pixels[rows] for name, pixels in self.arms.items()},
            names=None if self.names is None else tuple(self.names[row] for row in rows),
            **{name: None if values is None else values[rows] for name, values in optional.items()},
        )


def _check(name: str, values: np.ndarray, shape: tuple[int, ...], kind: str | None = None) -> None:
    """Raise a ValueError if a part of `Images` has another shape or type: its source has a mistake."""
    if values.shape != shape or kind not in (None, str(values.dtype)):
        wanted = f"{shape} {kind or ''}".strip()
        raise ValueError(f"{name} of images are {values.shape} {values.dtype}, but must be {wanted}")
