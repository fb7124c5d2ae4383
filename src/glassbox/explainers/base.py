"""The interface of explainers: what they are made from, what they take and give, and how its cost is counted."""

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from glassbox.config.explain import Explain
from glassbox.models import Classifier, device_of, frozen
from glassbox.models.layers import tensor_in, with_tensor
from glassbox.provenance.resume import Arrays

BLOCK = 2**26  # bytes of images that are sent to a machine at a time


@dataclass(frozen=True)
class Setup:
    """What explanations of a study have in common.

    Attributes:
        classifier: the classifier to explain.
        settings: the section `explain`.
        background: (B, H, W, 3) uint8 training images in random order; each explainer takes as many as it needs.
        mean: mean colour of the training images, 0..1 a channel.
        batch_size: images in one forward pass.
        seed: the study's seed.
    """

    classifier: Classifier
    settings: Explain
    background: torch.Tensor
    mean: tuple[float, ...]
    batch_size: int
    seed: int = 0


@dataclass(frozen=True)
class Request:
    """Images and classes to explain.

    Attributes:
        images: (N, H, W, 3) uint8.
        targets: (N,) int64, the class whose score is explained, for each image.
        seeds: (N,) one seed an image; rows that show the same image, and they alone, share it: their maps can be
            compared, and neighbouring ones are made together.
    """

    images: torch.Tensor
    targets: torch.Tensor
    seeds: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.images)

    def part(self, start: int, stop: int) -> "Request":
        """Rows `start` to `stop`."""
        return Request(self.images[start:stop], self.targets[start:stop], self.seeds[start:stop])

    def parts(self, size: int) -> Iterator[tuple[int, int]]:
        """First row and last + 1 of parts of `size` rows, or more where an image's rows would be divided."""
        start = 0
        while start < len(self):
            stop = min(start + size, len(self))
            while stop < len(self) and self.seeds[stop] == self.seeds[stop - 1]:
                stop += 1
            yield start, stop
            start = stop

    def in_blocks(self, size: int) -> Iterator[tuple["Request", tuple[int, int]]]:
        """The same parts, each as rows of a block: as many parts as fit into 64 MiB of images, but at least one."""
        parts, most = [*self.parts(size)], max(1, BLOCK // max(1, self.images[:1].numel()))
        while parts:
            first = parts[0][0]
            fitting = [*takewhile(lambda rows: rows[1] - first <= most, parts)] or parts[:1]  # noqa: B023
            block = self.part(first, fitting[-1][1])
            for start, stop in fitting:
                yield block, (start - first, stop - first)
            parts = parts[len(fitting) :]

    def __reduce__(self) -> tuple[Any, ...]:
        # As arrays: a view of a tensor would be sent with all that the tensor holds, and arrays need not be copied.
        return _request, (np.ascontiguousarray(self.images.numpy()), self.targets.numpy().copy(), self.seeds)


def _request(images: np.ndarray, targets: np.ndarray, seeds: tuple[int, ...]) -> Request:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # and nothing writes to it
        return Request(torch.from_numpy(images), torch.from_numpy(targets), seeds)


@dataclass(frozen=True)
class Attribution:
    """Explanations, one for each row of the request.

    Attributes:
        maps: (N, H, W) float32, signed: positive speaks for the target, negative against it; in units of the
            explained score, not normalised.
        seconds: (N,) wall time of a map, were it made alone; a batch's time is shared equally.
        forward_passes, backward_passes: (N,) that a map took, likewise; see `Budget`.
        details: further numbers, (N,) each, by name: local R2, additivity errors.
    """

    maps: np.ndarray
    seconds: np.ndarray
    forward_passes: np.ndarray
    backward_passes: np.ndarray
    details: dict[str, np.ndarray] = field(default_factory=dict)

    def arrays(self) -> Arrays:
        """All arrays by name, details last."""
        return {name: value for name, value in vars(self).items() if name != "details"} | self.details

    @staticmethod
    def of(arrays: Arrays) -> "Attribution":
        """The reverse of `arrays`."""
        fields = {name: arrays[name] for name in ("maps", "seconds", "forward_passes", "backward_passes")}
        return Attribution(**fields, details={name: arrays[name] for name in arrays if name not in fields})

    def rows(self, places: list[int]) -> "Attribution":
        """Some of the explanations."""
        return Attribution.of({name: values[places] for name, values in self.arrays().items()})


def join(parts: list[Attribution]) -> Attribution:
    """The attributions of consecutive rows as one."""
    arrays = [part.arrays() for part in parts]
    return Attribution.of({name: np.concatenate([part[name] for part in arrays]) for name in arrays[0]})


def constant(maps: np.ndarray) -> np.ndarray:
    """Which of maps (N, H, W) have one value, to within the rounding of float32, and so rank no pixel: (N,) bool."""
    flat = maps.reshape(len(maps), -1)
    return np.ptp(flat, axis=1) <= 1e-6 * np.abs(flat).max(axis=1)


@dataclass(frozen=True)
class Budget:
    """The most that a map of one class of one image costs.

    Every table, file and figure counts by these two, in images and not in batches: eight images that go through the
    model together are eight passes.

    Attributes:
        forward_passes: one for each image that goes forward through the model.
        backward_passes: one for each image whose gradient goes backward from the model's output, however far.
    """

    forward_passes: int
    backward_passes: int = 0


class Explainer(Protocol):
    """Makes maps, and states their cost beforehand.

    Attributes:
        looks_at: what it observes of the model: "gradient" of the pixels, "features" of a layer, or "regions" that are
            hidden. An attack on its maps uses the differentiable surrogate of that name in `attack`.
        together: images that it is given at a time: 1 where each one's forward passes fill batches of their own. When
            the process is killed, no more than these are lost.
    """

    looks_at: str
    together: int

    def __call__(self, classifier: Classifier, request: Request) -> Attribution:
        """Explain."""

    def budget(self, side: int) -> Budget:
        """The budget of a map of an image of `side` x `side` pixels."""


@contextmanager
def counting(classifier: Classifier) -> Iterator[list[int]]:
    """Count the images that go forward through the model inside the block, and those whose gradient goes backward, in
    the two items of the list; the model is in evaluation mode there, and as it was before, hooks included,
    afterwards."""
    count = [0, 0]

    def backward(gradient: torch.Tensor) -> None:
        count[1] += len(gradient)

    def forward(_: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        count[0] += len(inputs[0])
        if output.requires_grad:
            output.register_hook(backward)

    handle = classifier.register_forward_hook(forward)
    try:
        with frozen(classifier):
            yield count
    finally:
        handle.remove()


@contextmanager
def gradients_end_at(layer: nn.Module, *, in_place: bool = False) -> Iterator[list[torch.Tensor]]:
    """Inside the block gradients go back to the layer's output and no further: what comes before it costs its forward
    pass alone. The list receives that output, once for each forward pass. With `in_place` what comes after the layer
    may overwrite its output, of which it gets a copy."""
    outputs: list[torch.Tensor] = []

    def end(_: nn.Module, __: tuple[torch.Tensor, ...], output: Any) -> Any:
        outputs.append(tensor_in(output).detach().requires_grad_(True))
        return with_tensor(output, outputs[-1].clone() if in_place else outputs[-1])

    handle = layer.register_forward_hook(end)
    try:
        yield outputs
    finally:
        handle.remove()


MapsAndDetails = tuple[np.ndarray, dict[str, np.ndarray]]  # maps (N, H, W), and details (N,) each


def image_by_image(
    explain: Callable[[Classifier, torch.Tensor, list[int], int], MapsAndDetails],
    classifier: Classifier,
    request: Request,
    at_once: bool,
) -> Attribution:
    """Explain image after image: `explain(classifier, image (H, W, 3) uint8, T targets, seed)` gives maps (T, H, W) and
    details (T,). Neighbouring rows that show the same image are explained together. `at_once` is whether the same
    forward passes serve all targets: then each map has the whole cost, else its share."""
    parts = []
    for start, stop in request.parts(1):
        targets, shared_by = request.targets[start:stop].tolist(), 1 if at_once else stop - start
        image, seed = request.images[start], request.seeds[start]
        parts.append(_counted(explain, classifier, image, targets, seed, shared_by=shared_by))
    return join(parts)


def in_batches(
    explain: Callable[[Classifier, torch.Tensor, torch.Tensor], MapsAndDetails],
    classifier: Classifier,
    request: Request,
    batch_size: int,
) -> Attribution:
    """Explain batch after batch: `explain(classifier, images (B, H, W, 3) uint8, targets (B,))` gives maps (B, H, W)
    and details (B,). Images and targets are on the classifier's device."""
    device = device_of(classifier)
    batches = zip(request.images.split(batch_size), request.targets.split(batch_size), strict=True)
    return join(
        [
            _counted(explain, classifier, images.to(device), targets.to(device), shared_by=len(images))
            for images, targets in batches
        ]
    )


def _counted(explain: Callable[..., MapsAndDetails], classifier: Classifier, *what: Any, shared_by: int) -> Attribution:
    """The maps of `explain(classifier, *what)` and their cost, divided by `shared_by`."""
    with counting(classifier) as count:
        start = time.perf_counter()
        maps, details = explain(classifier, *what)
        seconds = time.perf_counter() - start
    cost = (np.full(len(maps), total / shared_by) for total in (seconds, *count))
    return Attribution(maps.astype(np.float32), *cost, details)
