"""Work that a kill does not undo: what a stage has done so far, kept for the next process that does the same work.

The files lie in data/unfinished/, outside of DVC's outputs, which DVC removes before it runs a stage once more. Each is
named by a digest of all that decides its content: parameters, data, weights, code, libraries, threads. So none is ever
taken up by another study. Any of them may be deleted at any time, at the price of the work in it.
"""

import hashlib
import io
import json
import os
import pickle
import struct
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from pydantic import BaseModel

from glassbox.core import files
from glassbox.provenance import fingerprint

FOLDER = "data/unfinished"
HEAD = struct.Struct("<Q32s")  # before each record: its length in bytes, its SHA-256

Arrays = dict[str, np.ndarray]
# What makes a part of a work: of a classifier, what many parts have in common, and what this one has of its own.
Work = Callable[[Any, Any, Any], Arrays]
Items = Iterable[tuple[Any, Any]]  # the last two


class Keep(Protocol):
    """Takes what is made as soon as it is made."""

    def __call__(self, name: str, make: Callable[[], Arrays], /) -> Arrays:
        """What `make` gives, or has given to an earlier process."""

    def each(self, name: str, work: Work, classifier: Any, items: Items, /) -> Iterator[Arrays]:
        """What `work(classifier, *item)` gives for each item, in their order. No part may hang on another: wherever an
        engine does them, and however many at a time, they come to the same bytes.

        Args:
            name: of the parts.
            work: a function of a module, or an object made of such, which another process can be sent by pickle.
            classifier: the same for all.
            items: what several in a row have in common is the same object in each, and sent to a machine once.
        """


def here(work: Work, classifier: Any, items: Items) -> Iterator[Arrays]:
    """Parts made in this process, one after another."""
    for common, own in items:
        yield work(classifier, common, own)


class Unkept:
    """A `Keep` that keeps nothing."""

    def __call__(self, _: str, make: Callable[[], Arrays]) -> Arrays:
        return make()

    def each(self, _: str, work: Work, classifier: Any, items: Items) -> Iterator[Arrays]:
        return here(work, classifier, items)


unkept = Unkept()


def identity(module: str, place: Any, *decides: Any) -> str:
    """16 hex digits for all that decides a result.

    Args:
        module: that does the work; its code is that of all that it imports as well.
        place: device and precision, a `compute.Place`; None where no network has a part in it.
        decides: what JSON can hold, and sections of the parameters.
    """
    tree = [_where(place) if place else None, fingerprint.digest(module), *decides]
    return files.digest(json.dumps(tree, sort_keys=True, default=_plain))[:16]


def _where(place: Any) -> list[Any]:
    import torch  # takes its time, and *prepare* does without

    chosen = {name: str(value) for name, value in vars(place).items()}
    return [chosen, torch.get_num_threads(), torch.__version__, np.__version__]


def digest(*paths: str | Path) -> str:
    """SHA-256 of what stands in files, and in all files of folders."""
    found = [path for given in map(Path, paths) for path in ([given] if given.is_file() else sorted(given.rglob("*")))]
    return files.digest(*(part for path in found if path.is_file() for part in (path.as_posix(), path.read_bytes())))


def _plain(section: BaseModel) -> Any:
    return section.model_dump(mode="json")


def parts(work: str, place: Any, each: Callable[..., Iterator[Arrays]], *decides: Any) -> "Parts":
    """The parts of a stage's work.

    Args:
        work: name of the stage.
        place, decides: see `identity`.
        each: makes them; see `Keep.each`.
    """
    return Parts(work, identity(f"stages.{work}", place, *decides), each=each)


def checkpoint(work: str, place: Any, *decides: Any) -> "Checkpoint":
    """The checkpoint of a training; see `identity`."""
    return Checkpoint(work, identity("glassbox.training.loop", place, *decides))


class _File:
    """A file of records that is `unfinished` until the stage has written its results, and then kept a little longer:
    until `forget`, DVC may be killed before it knows of them."""

    def __init__(self, work: str, key: str, folder: str | Path = FOLDER) -> None:
        self.work = work
        self.path, self._done = (Path(folder) / f"{work}-{key}.{suffix}" for suffix in ("unfinished", "done"))
        if self._done.exists():
            self._done.replace(self.path)
        self.path.parent.mkdir(parents=True, exist_ok=True)

    def finish(self) -> None:
        """The stage has written what this work was for."""
        if self.path.exists():
            self.path.replace(self._done)

    def tell(self, what: str) -> None:
        """Say on stderr what this file has to do with what follows."""
        print(f"{self.path}: {what}", file=sys.stderr)


def finish(*works: _File) -> None:
    """The stage has written what these works were for."""
    for work in works:
        work.finish()


def forget(folder: str | Path = FOLDER) -> None:
    """Delete the work that stages have finished. To be called when DVC holds their results."""
    for path in Path(folder).glob("*.done"):
        path.unlink()


class Saved(Protocol):
    """The state of a training after its last whole epoch: of tensors, numbers, text, lists, tuples and mappings."""

    def save(self, state: dict[str, Any]) -> None:
        """Put this one in the place of the one before."""

    def load(self) -> dict[str, Any] | None:
        """The state, its tensors on the CPU; None where there is none."""

    def tell(self, what: str) -> None:
        """Say on stderr what it has to do with what follows."""


def packed(state: dict[str, Any]) -> bytes:
    """A state as it is written."""
    import torch

    stream = io.BytesIO()
    torch.save(state, stream)
    return stream.getvalue()


def unpacked(content: bytes) -> dict[str, Any]:
    """The reverse, which never runs code.

    Raises:
        UnpicklingError: it is no state of a training.
    """
    import torch

    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)


class Checkpoint(_File):
    """The state of a training, in a file; always one whole state, whenever the process ends. See `Saved`.

    Args:
        work: short name of the work.
        key: of `identity`.
        folder: where it lies.
    """

    def save(self, state: dict[str, Any]) -> None:
        """See `Saved.save`."""
        self.write(packed(state))

    def write(self, content: bytes) -> None:
        """Save a state that is `packed`."""
        files.write_bytes(self.path, _framed(content))

    def load(self) -> dict[str, Any] | None:
        """See `Saved.load`. A damaged one is said on stderr, and is none."""
        if not self.path.exists():
            return None
        with self.path.open("rb") as file:
            content = _next(file)
        if content is not None:
            with suppress(pickle.UnpicklingError):
                return unpacked(content)
        self.tell(f"this checkpoint is damaged, so {self.work} begins anew")
        return None


class Parts(_File):
    """Work in parts that always come in the same order. Each is on disk as soon as it is made; parts that an earlier
    process made are read, and not made again.

    Args:
        work: short name of the work.
        key: of `identity`.
        folder: where the file lies.
        each: makes those that do not hang on each other; see `Keep.each`.

    Attributes:
        found: how many parts an earlier process has made.
        began: what `time.perf_counter()` would have been at the beginning, had the work not been interrupted.
    """

    def __init__(
        self,
        work: str,
        key: str,
        folder: str | Path = FOLDER,
        each: Callable[[Work, Any, Items], Iterator[Arrays]] = here,
    ) -> None:
        super().__init__(work, key, folder)
        self._number, self._places, before, whole, self._each = 0, [], 0.0, 0, each
        self._file = self.path.open("a+b")
        self._file.seek(0)
        while (content := _next(self._file)) is not None:
            self._places.append(whole)
            before += _about(content)["seconds"]
            whole = self._file.tell()
        self.found, self.began = len(self._places), time.perf_counter() - before
        self._file.seek(0, io.SEEK_END)
        if whole < self._file.tell():
            self._file.truncate(whole)  # what was being written when the process ended
        if self.found:
            self.tell(f"{self.work} goes on after {self.found} parts, of {before:.0f} seconds")

    def __call__(self, name: str, make: Callable[[], Arrays]) -> Arrays:
        """The next part: what is on disk, or else what `make` gives.

        Raises:
            RuntimeError: the part on disk has another name: the work took another way than before.
        """
        if self._number < self.found:
            return self._read(name)
        start = time.perf_counter()
        return self._write(name, make(), start)

    def each(self, name: str, work: Work, classifier: Any, items: Items) -> Iterator[Arrays]:
        """The next parts: what is on disk, then what `work` gives for the other items; see `Keep.each`."""
        rest = iter(items)
        for item in rest:  # drawn also where the part is there: drawing may take random numbers
            if self._number >= self.found:
                rest = chain([item], rest)
                break
            yield self._read(name)
        made, start = self._each(work, classifier, rest), time.perf_counter()
        for arrays in made:
            yield self._write(name, arrays, start)
            start = time.perf_counter()

    def _read(self, name: str) -> Arrays:
        from safetensors.numpy import load

        number, self._number = self._number, self._number + 1
        self._file.seek(self._places[number])
        content = _next(self._file)
        if content is None or _about(content)["name"] != name:
            raise RuntimeError(f"part {number} of {self.path} is not {name}: delete the file")
        found = load(content)  # in an order of its own
        return {key: found[key] for key in _about(content)["order"]}

    def _write(self, name: str, made: Arrays, start: float) -> Arrays:
        from safetensors.numpy import save

        self._number += 1
        arrays = {key: np.ascontiguousarray(value) for key, value in made.items()}
        seconds = repr(time.perf_counter() - start)
        about = {"name": name, "seconds": seconds, "order": json.dumps(list(arrays))}
        self._file.seek(0, io.SEEK_END)
        self._file.write(_framed(save(arrays, about)))
        self._file.flush()
        return arrays

    def finish(self) -> None:
        self._file.close()
        super().finish()


def _framed(content: bytes) -> bytes:
    return HEAD.pack(len(content), hashlib.sha256(content).digest()) + content


def _next(file: Any) -> bytes | None:
    """The record that begins here; None where there is none, or none that is whole."""
    head = file.read(HEAD.size)
    if len(head) < HEAD.size:
        return None
    size, digest = HEAD.unpack(head)
    if size > os.fstat(file.fileno()).st_size - file.tell():
        return None
    content = file.read(size)
    return content if hashlib.sha256(content).digest() == digest else None


def _about(content: bytes) -> dict[str, Any]:
    """Name of a part, its seconds, and the names of its arrays: the metadata that a safetensors file begins with."""
    (size,) = struct.unpack_from("<Q", content)
    found = json.loads(content[8 : 8 + size])["__metadata__"]
    return {"name": found["name"], "seconds": float(found["seconds"]), "order": json.loads(found["order"])}
