"""Prepared data on disk: one safetensors file a split (memory-mapped, no pickle) and a small JSON beside them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from glassbox.core import files
from glassbox.core.errors import UserError
from glassbox.data.base import SPLITS, Images

if TYPE_CHECKING:
    import torch

DESCRIPTION = "data.json"
FILES = "files"  # in it: SHA-256 of the file of each split
CHANGED = "changed/"  # before the names of interventions
ARMS = "arms/"  # before those of arms


@dataclass(frozen=True)
class Description:
    """What every later stage knows of the data without opening an image.

    Attributes:
        source: name of the source.
        classes: names, in label order.
        image_size: side of the square images, pixels.
        sizes: images in each split.
        mean, std: of red, green and blue over the training images, scaled to 0..1.
        has_masks: whether the true place of the evidence is known.
        digest: SHA-256 of all images, labels, masks, arms and class names.
    """

    source: str
    classes: tuple[str, ...]
    image_size: int
    sizes: dict[str, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    has_masks: bool
    digest: str


@dataclass(frozen=True)
class Split:
    """One split as tensors.

    Attributes:
        images: (N, H, W, 3) uint8.
        labels: (N,) int64.
        masks: (N, H, W) uint8 or None.
        index: (N,) int64, the position of each image in its source.
        names: file names, or None.
        changed: the images after interventions, (N, H, W, 3) uint8 by name; only of the test split.
        arms: the images as other arms show them, (N, H, W, 3) uint8 by name.
    """

    images: "torch.Tensor"
    labels: "torch.Tensor"
    masks: "torch.Tensor | None"
    index: "torch.Tensor"
    names: tuple[str, ...] | None
    changed: "dict[str, torch.Tensor]" = field(default_factory=dict)
    arms: "dict[str, torch.Tensor]" = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.images)

    def arm(self, name: str) -> "Split":
        """The split as one of its arms shows it; `changed` is of the main images, and left out."""
        return replace(self, images=self.arms[name], changed={}, arms={})

    def to(self, device: "torch.device | str") -> "Split":
        """The same split with its images and labels on `device`."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))


def write(folder: str | Path, images: Images, index: np.ndarray, source: str) -> Description:
    """Write the splits of `images` and their description.

    Args:
        folder: made if missing.
        images: with splits.
        index: (N,) int64, the position of each image in its source.
        source: name for the description.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    hashed = [*images.classes]
    sizes, written = {}, {}
    for split in SPLITS:
        rows = np.flatnonzero(images.splits == split)
        part = images.take(rows)
        tensors = {"images": part.pixels, "labels": part.labels, "index": index[rows]}
        if part.masks is not None:
            tensors["masks"] = part.masks
        if split == "test":
            tensors |= {f"{CHANGED}{name}": pixels for name, pixels in part.changed.items()}
        tensors |= {f"{ARMS}{name}": pixels for name, pixels in part.arms.items()}
        if part.names is not None:  # no file name holds a zero byte
            tensors["names"] = np.frombuffer("\0".join(part.names).encode("utf-8", "surrogateescape"), np.uint8)
        files.write_tensors(folder / f"{split}.safetensors", tensors)
        written[split] = files.sha256(folder / f"{split}.safetensors")
        sizes[split] = len(part)
        masks = [] if part.masks is None else [part.masks.tobytes()]
        arms = [content for name, pixels in part.arms.items() for content in (name, pixels.tobytes())]
        hashed += [split, files.digest(part.pixels.tobytes(), part.labels.tobytes(), *masks, *arms)]
        if split == "train":
            mean, std = statistics(part.pixels)
    description = Description(
        source=source,
        classes=images.classes,
        image_size=images.pixels.shape[1],
        sizes=sizes,
        mean=mean,
        std=std,
        has_masks=images.masks is not None,
        digest=files.digest(*hashed),
    )
    files.write_json(folder / DESCRIPTION, description.__dict__ | {FILES: written}, checked=True)
    return description


def describe(folder: str | Path) -> Description:
    """The description of prepared data.

    Raises:
        UserError: it is missing or damaged.
    """
    value = _described(folder)
    return Description(**{key: tuple(v) if isinstance(v, list) else v for key, v in value.items() if key != FILES})


def _described(folder: str | Path) -> dict[str, Any]:
    path = Path(folder) / DESCRIPTION
    value = files.read_json(path)
    wanted = {field.name for field in fields(Description)} | {FILES}
    if not isinstance(value, dict) or value.keys() != wanted or set(value[FILES]) != set(SPLITS):
        raise UserError(f"{path} does not describe prepared data: 'dvc repro prepare --force' makes it anew")
    return value


def read(folder: str | Path, split: str) -> Split:
    """One split, memory-mapped: pages are read when they are used.

    Raises:
        UserError: the file is missing, or not byte by byte what was prepared.
    """
    from safetensors import safe_open

    path = Path(folder) / f"{split}.safetensors"
    with _checked(path), safe_open(path, framework="pt") as file:
        tensors: dict[str, Any] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    names = tensors.get("names")
    decoded = None if names is None else tuple(bytes(names.numpy()).decode("utf-8", "surrogateescape").split("\0"))
    changed, arms = (
        {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
        for prefix in (CHANGED, ARMS)
    )
    return Split(tensors["images"], tensors["labels"], tensors.get("masks"), tensors["index"], decoded, changed, arms)


def images(folder: str | Path, split: str) -> np.ndarray:
    """Only the images of a split, (N, H, W, 3) uint8, memory-mapped; without PyTorch, whose import takes seconds.

    Raises:
        UserError: see `read`.
    """
    path = Path(folder) / f"{split}.safetensors"
    with _checked(path):
        with path.open("rb") as file:  # a safetensors file: length of the header, header, tensors one after another
            length = int.from_bytes(file.read(8), "little")
            about = json.loads(file.read(length))["images"]
        start = 8 + length + about["data_offsets"][0]
        return np.memmap(path, np.uint8, "r", start, tuple(about["shape"]))


@contextmanager
def _checked(path: Path) -> Iterator[None]:
    """Around the reading of a split's file, which is looked at first.

    Raises:
        UserError: see `read`.
    """
    from safetensors import SafetensorError

    try:
        if files.sha256(path) != _described(path.parent)[FILES][path.stem]:
            raise UserError(
                f"{path} is not what was prepared (its SHA-256 is not that in {DESCRIPTION}): 'dvc repro prepare "
                "--force' makes it anew"
            )
        yield
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} cannot be read ({error}): 'dvc repro prepare --force' makes it anew") from None


def statistics(pixels: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel over all pixels (N, H, W, 3) uint8, on the scale 0..1.

    Counted exactly from the 256 possible values, so that no order of summation shows in the last digits.
    """
    values = np.arange(256) / 255
    means, deviations = [], []
    counted = np.zeros((pixels.shape[3], 256), np.int64)
    for some in np.array_split(pixels, len(pixels) // 256 + 1):  # bincount makes eight bytes of each
        for channel, counts in enumerate(counted):
            counts += np.bincount(some[..., channel].ravel(), minlength=256)
    for counts in counted:
        mean = float((counts * values).sum() / counts.sum())
        variance = float((counts * (values - mean) ** 2).sum() / counts.sum())
        means.append(mean)
        deviations.append(variance**0.5)
    return tuple(means), tuple(deviations)
