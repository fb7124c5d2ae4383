"""Explainers run on whole requests, part by part, so that a killed process resumes after its last part."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from glassbox.core import files
from glassbox.execution.compute import Peak, refusals
from glassbox.explainers.base import Attribution, Explainer, Request, join
from glassbox.models import Classifier, device_of
from glassbox.provenance.resume import Arrays, Keep, unkept

JOINED = 256  # parts whose numbers are joined: many small arrays take more memory than their content


@dataclass(frozen=True)
class Bookkeeping:
    """Where finished work is kept, and how its progress is reported."""

    keep: Keep = unkept  # stores each part as soon as it is made
    folder: str | Path | None = None  # for files that hold the maps; None keeps them in memory
    progress: Callable[[int], object] = int  # called with the number of steps since its last call


ALONE = Bookkeeping()  # nothing is kept, nothing reported


def attribute(
    explainer: Explainer,
    classifier: Classifier,
    request: Request,
    books: Bookkeeping = ALONE,
    *,
    name: str = "maps",
    memory: bool = False,
) -> Attribution:
    """All maps of a request; a step is a map, `name` that of the parts that are kept. With `memory` the details have
    "memory", GiB that a process took beyond what it had in use before its first part, at its highest so far.

    Raises:
        UserError: the device cannot do it; see `compute.refusals`.
    """

    def parts() -> Iterator[Attribution]:
        work = _Part(explainer, memory)
        for arrays in books.keep.each(name, work, classifier, request.in_blocks(explainer.together)):
            part = Attribution.of(arrays)
            yield part
            books.progress(len(part.maps))

    return gather(parts(), len(request), books.folder)


@dataclass
class _Part:
    """Explains some rows of a block. An object, so that other processes can be sent it."""

    explainer: Explainer
    memory: bool
    peak: Peak | None = None  # of this process

    def __call__(self, classifier: Classifier, block: Request, rows: tuple[int, int]) -> Arrays:
        device = device_of(classifier)
        if self.memory and self.peak is None:
            self.peak = Peak(device)
        side = getattr(classifier, "input_size", None) or block.images.shape[1]
        batch_size = getattr(self.explainer, "batch_size", len(block))
        with refusals(device, "compute.batch_size", batch_size, side):
            attribution = self.explainer(classifier, block.part(*rows))
        memory = {"memory": np.full(len(attribution.maps), self.peak())} if self.peak else {}
        return attribution.arrays() | memory


def gather(parts: Iterator[Attribution], n: int, folder: str | Path | None) -> Attribution:
    """The attributions of `n` consecutive rows as one, whose maps lie in a file of `folder`."""
    numbers: list[Attribution] = []  # attributions without their maps

    def maps() -> Iterator[np.ndarray]:
        for part in parts:
            numbers.append(replace(part, maps=np.empty((0, *part.maps.shape[1:]), np.float32)))  # a view keeps them all
            if len(numbers) == JOINED:
                numbers[:] = [join(numbers)]
            yield part.maps

    gathered = gather_maps(maps(), n, folder)
    return replace(join(numbers), maps=gathered)


def gather_maps(parts: Iterator[np.ndarray], n: int, folder: str | Path | None) -> np.ndarray:
    """Maps (n, H, W) in a file of `folder`, from consecutive parts of them."""
    gathered, done = np.zeros((0,)), 0
    for part in parts:
        gathered = gathered if done else files.on_disk(folder, (n, *part.shape[1:]), "float32")
        gathered[done : done + len(part)] = part
        done += len(part)
    return gathered
