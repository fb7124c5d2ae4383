"""Prepared data on disk: one safetensors file a split (memory-mapped, no pickle) and a small JSON beside them."""

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
FILES = "files"  # its key for the SHA-256 of each split's file
CHANGED = "changed/"  # prefix of tensors of interventions
ARMS = "arms/"  # prefix of tensors of arms
REMEDY = "'dvc repro prepare --force' makes it anew"


@dataclass(frozen=True)
class Description:
    """The properties of the data that later stages use.

    Attributes:
        source: name of the source.
        classes: names, in label order.
        image_size: side of the square images, pixels.
        sizes: number of images in each split.
        mean, std: of red, green and blue over the training images, scaled to 0..1.
        has_masks: whether there are masks of the evidence.
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
    """One split of `Images` as tensors: `images` (N, H, W, 3) uint8 are its pixels, `index` (N,) int64 its positions in
    the source. Only the test split has `changed`."""

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
        """The split with the images of an arm, without `changed`, which belongs to the main images."""
        return replace(self, images=self.arms[name], changed={}, arms={})

    def to(self, device: "torch.device | str") -> "Split":
        """The same split with its images and labels on `device`."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))


def write(folder: str | Path, images: Images, index: np.ndarray, source: str) -> Description:
    """Write the splits of `images`, with the position `index` (N,) int64 of each in its source, and a description."""
    hashed, sizes, written = [*images.classes], {}, {}
    for split in SPLITS:
        rows = np.flatnonzero(images.splits == split)
        part = images.take(rows)
        path = Path(folder) / f"{split}.safetensors"
        files.write_tensors(path, _tensors(part, index[rows], split))
        written[split], sizes[split] = files.sha256(path), len(part)
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
    files.write_json(Path(folder) / DESCRIPTION, description.__dict__ | {FILES: written}, checked=True)
    return description


def _tensors(part: Images, index: np.ndarray, split: str) -> dict[str, np.ndarray]:
    tensors = {"images": part.pixels, "labels": part.labels, "index": index}
    if part.masks is not None:
        tensors["masks"] = part.masks
    if split == "test":
        tensors |= {f"{CHANGED}{name}": pixels for name, pixels in part.changed.items()}
    tensors |= {f"{ARMS}{name}": pixels for name, pixels in part.arms.items()}
    if part.names is not None:  # no file name contains a zero byte
        tensors["names"] = np.frombuffer("\0".join(part.names).encode("utf-8", "surrogateescape"), np.uint8)
    return tensors


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
        raise UserError(f"{path} does not describe prepared data: {REMEDY}")
    return value


def read(folder: str | Path, split: str) -> Split:
    """One split, memory-mapped: pages are read when they are used.

    Raises:
        UserError: the file is missing, or differs from what was prepared.
    """
    with _opened(folder, split, "pt") as file:
        tensors: dict[str, Any] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    names = tensors.get("names")
    decoded = None if names is None else tuple(bytes(names.numpy()).decode("utf-8", "surrogateescape").split("\0"))
    changed, arms = (
        {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
        for prefix in (CHANGED, ARMS)
    )
    return Split(tensors["images"], tensors["labels"], tensors.get("masks"), tensors["index"], decoded, changed, arms)


def images(folder: str | Path, split: str) -> Any:
    """The images of a split, (N, H, W, 3) uint8: items and slices within 0..N, like `images[3]` and `images[:2]`, are
    numpy arrays that are read from the disk. Unlike `read`, it does not import PyTorch, which takes seconds.

    Raises:
        UserError: see `read`.
    """
    with _opened(folder, split, "np") as file:
        return file.get_slice("images")


@contextmanager
def _opened(folder: str | Path, split: str, framework: str) -> Iterator[Any]:
    """The file of a split, after a check of its digest. Raises a UserError, see `read`."""
    from safetensors import SafetensorError, safe_open

    path = Path(folder) / f"{split}.safetensors"
    try:
        if files.sha256(path) != _described(folder)[FILES][split]:
            raise UserError(f"{path} is not what was prepared (its SHA-256 is not that in {DESCRIPTION}): {REMEDY}")
        with safe_open(path, framework=framework) as file:
            yield file
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} cannot be read ({error}): {REMEDY}") from None


def statistics(pixels: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel over all pixels (N, H, W, 3) uint8, on the scale 0..1.

    They are computed from the counts of the 256 possible values, so that no order of summation changes the last digits.
    """
    counts = np.zeros((pixels.shape[3], 256), np.int64)
    for some in np.array_split(pixels, len(pixels) // 256 + 1):  # bincount needs eight bytes a value
        counts += [np.bincount(some[..., channel].ravel(), minlength=256) for channel in range(len(counts))]
    values = np.arange(256) / 255
    means = [float((n * values).sum() / n.sum()) for n in counts]
    variances = [float((n * (values - mean) ** 2).sum() / n.sum()) for n, mean in zip(counts, means, strict=True)]
    return tuple(means), tuple(variance**0.5 for variance in variances)
