"""Work that survives a kill: what a stage has done so far, kept for the next process that does the same work.

It lies in data/unfinished/, outside DVC's outputs, which DVC removes before it reruns a stage. Each name holds a digest
of all that determines the content: parameters, data, weights, code, libraries, threads. So no other study uses it.
Everything there may be deleted at any time, at the price of the work in it.
"""

import hashlib
import io
import json
import pickle
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from glassbox.core import files
from glassbox.provenance import fingerprint

FOLDER = "data/unfinished"
ABOUT = "about this part"  # beside the arrays of a part: its name and its seconds

Arrays = dict[str, np.ndarray]
# Computes one part from a classifier, an object that many parts share, and an object of this part alone.
Work = Callable[[Any, Any, Any], Arrays]
Items = Iterable[tuple[Any, Any]]  # the shared object and the part's own


def here(work: Work, classifier: Any, items: Items) -> Iterator[Arrays]:
    """Parts computed in this process, one after another."""
    for shared, item in items:
        yield work(classifier, shared, item)


class Keep:
    """Computes the parts of a work and stores nothing; `Parts` stores each part as soon as it is computed."""

    def __call__(self, name: str, make: Callable[[], Arrays], /) -> Arrays:  # noqa: ARG002
        """What `make` returns, or returned in an earlier process."""
        return make()

    def each(self, name: str, work: Work, classifier: Any, items: Items, /) -> Iterator[Arrays]:  # noqa: ARG002
        """`work(classifier, *item)` for each item, in order. No part may depend on another: whichever machines compute
        them, and however many at a time, the bytes are the same.

        Args:
            name: the parts' name.
            work: a picklable function or object, since other processes may run it.
            classifier: the same for all.
            items: consecutive items that share something hold the same object, which is sent to a machine once.
        """
        return here(work, classifier, items)


unkept = Keep()


def identity(module: str, place: Any, *decides: Any) -> str:
    """16 hex digits for all that determines a result.

    Args:
        module: does the work; the code of all that it imports counts as well.
        place: device and precision, a `compute.Place`; None if no network is involved.
        decides: what JSON can hold, and sections of the parameters.
    """
    tree = [_where(place) if place else None, fingerprint.digest(module), *decides]
    return files.digest(json.dumps(tree, sort_keys=True, default=lambda section: section.model_dump(mode="json")))[:16]


def _where(place: Any) -> list[Any]:
    import torch  # slow, and *prepare* does without

    chosen = {name: str(value) for name, value in vars(place).items()}
    return [chosen, torch.get_num_threads(), torch.__version__, np.__version__]


def digest(*paths: str | Path) -> str:
    """SHA-256 of the names and contents of files, and of all files in folders."""
    return files.digest(*(part for file in files.inside(*paths) for part in (file.as_posix(), file.read_bytes())))


def parts(work: str, place: Any, each: Callable[..., Iterator[Arrays]], *decides: Any) -> "Parts":
    """The parts of the stage `work`; see `identity` and `Keep.each`."""
    return Parts(work, identity(f"stages.{work}", place, *decides), each=each)


def checkpoint(work: str, place: Any, *decides: Any) -> "Checkpoint":
    """The checkpoint of a training; see `identity`."""
    return Checkpoint(work, identity("glassbox.training.loop", place, *decides))


def forget(folder: str | Path = FOLDER) -> None:
    """Delete finished work. To be called when DVC holds its results."""
    for path in Path(folder).glob("*.done"):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


class _Stored:
    """A file or folder for a work with an `identity`, its key: `unfinished` until the stage has written its results,
    then `done` until `forget`, since DVC may be killed before it records those results."""

    def __init__(self, work: str, key: str, folder: str | Path = FOLDER) -> None:
        self.work = work
        self.path, self._done = (Path(folder) / f"{work}-{key}.{suffix}" for suffix in ("unfinished", "done"))
        if self._done.exists():
            self._done.replace(self.path)
        self.path.parent.mkdir(parents=True, exist_ok=True)

    def finish(self) -> None:
        """Mark the work as done: the stage has written its results."""
        if self.path.exists():
            self.path.replace(self._done)

    def tell(self, what: str) -> None:
        """Print on stderr what this file means for the work that follows."""
        print(f"{self.path}: {what}", file=sys.stderr)


class Saved(Protocol):
    """The state of a training after its last whole epoch: tensors, numbers, text, lists, tuples and mappings."""

    def save(self, state: dict[str, Any]) -> None:
        """Replace the state."""

    def load(self) -> dict[str, Any] | None:
        """The state, its tensors on the CPU; None if there is none."""

    def tell(self, what: str) -> None:
        """Print on stderr what it means for the training that follows."""


def packed(state: dict[str, Any]) -> bytes:
    """A state as bytes."""
    import torch

    stream = io.BytesIO()
    torch.save(state, stream)
    return stream.getvalue()


def unpacked(content: bytes) -> dict[str, Any]:
    """The state in bytes of `packed`; never runs code.

    Raises:
        UnpicklingError: the bytes are no state of a training.
    """
    import torch

    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)


class Checkpoint(_Stored):
    """The state of a training in a file, which is whole whenever the process ends. See `Saved`."""

    def save(self, state: dict[str, Any]) -> None:
        """See `Saved.save`."""
        self.write(packed(state))

    def write(self, content: bytes) -> None:
        """Save a state that is `packed`."""
        files.write_bytes(self.path, _sealed(content))

    def load(self) -> dict[str, Any] | None:
        """See `Saved.load`. A damaged one is reported on stderr, and counts as none."""
        if not self.path.exists():
            return None
        content = _unsealed(self.path)
        if content is not None:
            with suppress(pickle.UnpicklingError):
                return unpacked(content)
        self.tell(f"this checkpoint is damaged, so {self.work} begins anew")
        return None


class Parts(_Stored, Keep):
    """Work in parts that always come in the same order, in a folder with a file for each. Parts that an earlier process
    has written are read instead of computed.

    Args:
        each: computes independent parts; see `Keep.each`.

    Attributes:
        found: number of parts from earlier processes.
        began: `time.perf_counter()` at the beginning, had the work not been interrupted.
    """

    def __init__(
        self,
        work: str,
        key: str,
        folder: str | Path = FOLDER,
        each: Callable[[Work, Any, Items], Iterator[Arrays]] = here,
    ) -> None:
        super().__init__(work, key, folder)
        self.path.mkdir(exist_ok=True)
        self._each, self._number, self.found, before = each, 0, 0, 0.0
        while (part := self._load(self.found)) is not None:  # up to the first one that is missing or damaged
            self.found += 1
            before += part[1]
        self.began = time.perf_counter() - before
        if self.found:
            self.tell(f"{self.work} goes on after {self.found} parts, which took {before:.0f} seconds")

    def __call__(self, name: str, make: Callable[[], Arrays]) -> Arrays:
        """The next part: the stored one, or else what `make` returns.

        Raises:
            RuntimeError: the stored part has another name: the work took another way than before.
        """
        if self._number < self.found:
            return self._next(name)
        start = time.perf_counter()
        return self._write(name, make(), start)

    def each(self, name: str, work: Work, classifier: Any, items: Items) -> Iterator[Arrays]:
        """The next parts: the stored ones, then what `work` returns for the other items; see `Keep.each`."""
        rest = iter(items)
        for item in rest:  # drawn even for a stored part: drawing may take random numbers
            if self._number >= self.found:
                rest = chain([item], rest)
                break
            yield self._next(name)
        computed, start = self._each(work, classifier, rest), time.perf_counter()
        for arrays in computed:
            yield self._write(name, arrays, start)
            start = time.perf_counter()

    def _load(self, number: int) -> tuple[str, float, Arrays] | None:
        """Name, seconds and arrays of a stored part; None if it is missing or damaged."""
        content = _unsealed(self.path / str(number))
        if content is None:
            return None
        with np.load(io.BytesIO(content)) as archive:
            arrays = dict(archive)
        name, seconds = arrays.pop(ABOUT)
        return str(name), float(seconds), arrays

    def _next(self, name: str) -> Arrays:
        part = self._load(self._number)
        if part is None or part[0] != name:
            raise RuntimeError(f"part {self._number} of {self.path} is not {name}: delete that folder")
        self._number += 1
        return part[2]

    def _write(self, name: str, computed: Arrays, start: float) -> Arrays:
        arrays = {key: np.ascontiguousarray(value) for key, value in computed.items()}
        stream = io.BytesIO()
        np.savez(stream, **arrays, **{ABOUT: np.array([name, repr(time.perf_counter() - start)])})
        files.write_bytes(self.path / str(self._number), _sealed(stream.getvalue()))
        self._number += 1
        return arrays


def _sealed(content: bytes) -> bytes:
    """Content with its SHA-256 before it."""
    return hashlib.sha256(content).digest() + content


def _unsealed(path: Path) -> bytes | None:
    """The content of a `_sealed` file; None if it is missing or damaged."""
    if not path.exists():
        return None
    stored = path.read_bytes()
    digest, content = stored[:32], stored[32:]
    return content if hashlib.sha256(content).digest() == digest else None
