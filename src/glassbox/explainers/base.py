"""What an explainer takes and gives: raw signed maps, a model left as it was, and an honest account of the cost."""

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from glassbox.config.explain import Explain
from glassbox.execution.compute import Peak, refusals
from glassbox.models import Classifier, frozen
from glassbox.provenance.resume import Arrays, Keep, unkept

BLOCK = 2**26  # bytes of images that are sent to a machine at a time


@dataclass(frozen=True)
class Request:
    """What is to be explained.

    Attributes:
        images: (N, H, W, 3) uint8.
        targets: (N,) int64, the class whose score is explained, for each image.
        seeds: (N,) one seed an image; rows that show the same image share it, so that their maps can be compared.
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
        """The rows in parts of `size`, or more where the rows of an image would be parted: first, last + 1."""
        start = 0
        while start < len(self):
            stop = min(start + size, len(self))
            while stop < len(self) and self.seeds[stop] == self.seeds[stop - 1]:
                stop += 1
            yield start, stop
            start = stop

    def in_blocks(self, size: int) -> Iterator[tuple["Request", tuple[int, int]]]:
        """The same parts, each as rows of a block of at most 64 MiB of images, or one part; of the request itself where
        that is no larger."""
        parts, most = [*self.parts(size)], max(1, BLOCK // max(1, self.images[:1].numel()))
        first = 0
        while first < len(parts):
            begin, last = parts[first][0], first + 1
            while last < len(parts) and parts[last][1] - begin <= most:
                last += 1
            end = parts[last - 1][1]
            block = self if end - begin == len(self) else self.part(begin, end)
            for start, stop in parts[first:last]:
                yield block, (start - begin, stop - begin)
            first = last

    def __reduce__(self) -> tuple[Any, ...]:
        # As arrays: a view of a tensor would be sent with all that the tensor holds, and arrays need not be copied.
        return _request, (np.ascontiguousarray(self.images.numpy()), self.targets.numpy().copy(), self.seeds)


def _request(images: np.ndarray, targets: np.ndarray, seeds: tuple[int, ...]) -> Request:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # and nobody writes to it
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

    def rows(self, places: list[int]) -> "Attribution":
        """Some of the explanations."""
        return Attribution(
            self.maps[places],
            self.seconds[places],
            self.forward_passes[places],
            self.backward_passes[places],
            {name: values[places] for name, values in self.details.items()},
        )


def join(parts: list[Attribution]) -> Attribution:
    """The attributions of consecutive rows as one."""
    return Attribution(
        np.concatenate([part.maps for part in parts]),
        np.concatenate([part.seconds for part in parts]),
        np.concatenate([part.forward_passes for part in parts]),
        np.concatenate([part.backward_passes for part in parts]),
        {name: np.concatenate([part.details[name] for part in parts]) for name in parts[0].details},
    )


def constant(maps: np.ndarray) -> np.ndarray:
    """Which of maps (N, H, W) have one value, to within the rounding of float32, and so rank no pixel: (N,) bool."""
    flat = maps.reshape(len(maps), -1)
    return np.ptp(flat, axis=1) <= 1e-6 * np.abs(flat).max(axis=1)


@dataclass(frozen=True)
class Common:
    """What explainers are made from.

    Attributes:
        settings: the section `explain`.
        background: (B, H, W, 3) uint8 training images in random order; each explainer takes as many as it wants.
        mean: colour of the training images, 0..1 a channel.
        batch_size: images in one forward pass.
    """

    settings: Explain
    background: torch.Tensor
    mean: tuple[float, ...]
    batch_size: int


@dataclass(frozen=True)
class Budget:
    """What a map of one class of one image costs at most.

    Every table, file and figure counts by these two, in images and not in batches: eight images that go through the
    model together are eight passes.

    Attributes:
        forward_passes: one for each image that goes forward through the model.
        backward_passes: one for each image whose gradient goes backward from the model's output, however far.
    """

    forward_passes: int
    backward_passes: int = 0


class Explainer(Protocol):
    """What makes maps, and says before what they may cost.

    Attributes:
        looks_at: by what it looks at the model: "gradient" at the pixels, "features" of a layer, or "regions" that are
            hidden. An attack on its maps goes through the stand-in of that name in `attack`.
        together: images that it is given at a time: 1 where each one's forward passes fill batches of their own. When
            the process is killed, no more than these are lost.
    """

    looks_at: str
    together: int

    def __call__(self, classifier: Classifier, request: Request) -> Attribution:
        """Explain."""

    def budget(self, side: int) -> Budget:
        """Of a map of an image of `side` x `side` pixels."""


def in_parts(
    explainer: Explainer,
    classifier: Classifier,
    request: Request,
    batch_size: int,
    keep: Keep = unkept,
    name: str = "maps",
    memory: bool = False,
) -> Iterator[Attribution]:
    """The explanations of a request, a few consecutive rows at a time.

    Args:
        explainer: that makes them.
        classifier: what is explained.
        request: what is to be explained.
        batch_size: images in one forward pass, for messages.
        keep: takes each part as soon as it is made.
        name: of the parts.
        memory: whether to measure it: then `details` has "memory", GiB that a process took beyond what it had in use
            before its first part, at its highest so far.

    Raises:
        UserError: the device refuses; see `compute.refusals`.
    """
    work = Made(explainer, batch_size) if memory else partial(_made, explainer, batch_size)
    for arrays in keep.each(name, work, classifier, request.in_blocks(explainer.together)):
        own = {field: arrays.pop(field) for field in ("maps", "seconds", "forward_passes", "backward_passes")}
        yield Attribution(**own, details=arrays)


def _made(
    explainer: Explainer, batch_size: int, classifier: Classifier, block: Request, rows: tuple[int, int]
) -> Arrays:
    """The explanations of some rows of a block, as arrays."""
    side = getattr(classifier, "input_size", None) or block.images.shape[1]
    with refusals(next(classifier.parameters()).device, "compute.batch_size", batch_size, side):
        made = explainer(classifier, block.part(*rows))
    own = (made.maps, made.seconds, made.forward_passes, made.backward_passes)
    return dict(zip(("maps", "seconds", "forward_passes", "backward_passes"), own, strict=True)) | made.details


@dataclass
class Made:
    """`_made`, and the memory that it took in this process."""

    explainer: Explainer
    batch_size: int

    def __call__(self, classifier: Classifier, block: Request, rows: tuple[int, int]) -> Arrays:
        if not hasattr(self, "_peak"):
            self._peak = Peak(next(classifier.parameters()).device)
        arrays = _made(self.explainer, self.batch_size, classifier, block, rows)
        return arrays | {"memory": np.full(len(arrays["maps"]), self._peak())}


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
    pass alone. The list receives that output, once for each forward pass.

    Args:
        layer: of the model.
        in_place: whether what comes after the layer may overwrite its output, which is copied then.
    """
    outputs: list[torch.Tensor] = []

    def end(_: nn.Module, __: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
        outputs.append(output.detach().requires_grad_(True))
        return outputs[-1].clone() if in_place else outputs[-1]

    handle = layer.register_forward_hook(end)
    try:
        yield outputs
    finally:
        handle.remove()


def image_by_image(
    explain: Callable[[Classifier, torch.Tensor, list[int], int], tuple[np.ndarray, dict[str, np.ndarray]]],
    classifier: Classifier,
    request: Request,
    at_once: bool,
) -> Attribution:
    """Explain image after image: `explain(classifier, image (H, W, 3) uint8, T targets, seed)` gives maps (T, H, W) and
    details (T,). Neighbouring rows that show the same image are explained together.

    Args:
        at_once: whether the model's answers serve all targets: then each map carries the whole cost, else its share.
    """
    parts, start = [], 0
    while start < len(request):
        stop = start + 1
        while stop < len(request) and _same(request, start, stop):
            stop += 1
        rows = stop - start
        with counting(classifier) as count:
            begin = time.perf_counter()
            targets = request.targets[start:stop].tolist()
            maps, details = explain(classifier, request.images[start], targets, request.seeds[start])
            seconds = time.perf_counter() - begin
        share = 1 if at_once else rows
        cost = (np.full(rows, cost / share) for cost in (seconds, *count))
        parts.append(Attribution(maps.astype(np.float32), *cost, details))
        start = stop
    return join(parts)


def _same(request: Request, a: int, b: int) -> bool:
    return request.seeds[a] == request.seeds[b] and torch.equal(request.images[a], request.images[b])


def in_batches(
    explain: Callable[[Classifier, torch.Tensor, torch.Tensor], tuple[np.ndarray, dict[str, np.ndarray]]],
    classifier: Classifier,
    request: Request,
    batch_size: int,
) -> Attribution:
    """Explain batch after batch: `explain(classifier, images (B, H, W, 3) uint8, targets (B,))` gives maps (B, H, W)
    and details (B,). Images and targets are on the classifier's device."""
    device = next(classifier.parameters()).device
    parts = []
    for start_row in range(0, len(request), batch_size):
        images = request.images[start_row : start_row + batch_size].to(device)
        targets = request.targets[start_row : start_row + batch_size].to(device)
        with counting(classifier) as count:
            start = time.perf_counter()
            maps, details = explain(classifier, images, targets)
            seconds = time.perf_counter() - start
        cost = (np.full(len(images), cost / len(images)) for cost in (seconds, *count))
        parts.append(Attribution(maps.astype(np.float32), *cost, details))
    return join(parts)
