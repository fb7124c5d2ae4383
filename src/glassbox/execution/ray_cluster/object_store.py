"""Data in Ray's object store: put there by the stage once, read by any worker."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray
import torch

from glassbox.data.store import Split


@dataclass(frozen=True)
class StoredSplits:
    """Splits of the data in the store. Can be sent to workers by pickle."""

    references: dict[str, Any]

    def __call__(self, name: str) -> Split:
        arrays = ray.get(self.references[name])
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # no worker writes to it
            tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        return Split(tensors["images"], tensors["labels"], None, tensors["index"], None)


def put_splits(read: Callable[[str], Split], *names: str) -> StoredSplits:
    """Put images and labels of these splits into the store."""
    return StoredSplits({name: ray.put(_as_arrays(read(name))) for name in names})


def _as_arrays(split: Split) -> dict[str, np.ndarray]:
    """Arrays, which the processes of a machine share."""
    return {"images": split.images.numpy(), "labels": split.labels.numpy(), "index": split.index.numpy()}


def compact(item: Any) -> Any:
    """Copies tensors that are views: pickle would send the whole tensor behind a view."""
    if isinstance(item, torch.Tensor):
        return item.clone() if item.untyped_storage().nbytes() > item.nbytes else item
    return type(item)(map(compact, item)) if type(item) in (tuple, list) else item


_cache: dict[int, tuple[Any, Any]] = {}  # by position in the list of references: the last reference and its object


def read(references: list[Any], device: torch.device) -> list[Any]:
    """The objects of some references, networks on the device. Each is read again only when another reference takes its
    position."""
    for position, reference in enumerate(references):
        if position not in _cache or _cache[position][0] != reference:
            _cache.pop(position, None)
            stored = ray.get(reference)
            if isinstance(stored, torch.nn.Module):
                stored = stored.to(device).eval()
            _cache[position] = reference, stored
    return [_cache[position][1] for position in range(len(references))]
