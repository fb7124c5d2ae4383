"""Where a stage's work is done: in this process, or by workers of a Ray cluster. Nothing else knows which."""

from collections import deque
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import torch

from glassbox import compute, config, resume, workers
from glassbox.compute import Place
from glassbox.data.store import Split
from glassbox.resume import Arrays, Items, Work

if TYPE_CHECKING:
    from glassbox.models import Classifier
    from glassbox.training import Epoch, Training


class Engine(Protocol):
    """What does the parts of a work.

    Attributes:
        place: device and precision of those parts.
        device: of what this process computes itself.
        apart: whether workers have machines, or processors, of their own.
    """

    place: Place
    device: torch.device
    apart: bool

    def each(self, work: Work, classifier: Any, items: Items) -> Iterator[Arrays]:
        """See `resume.Keep.each`."""

    def lend(self, read: Callable[[str], Split], *splits: str) -> Callable[[str], Split]:
        """`read` for workers, who can be sent it by pickle: of these splits, what is learnt from."""

    def work_off(
        self, serve: Callable[[], Callable[[Any], Iterator[Any]]], todo: deque, at_once: int,
        silent: Callable[[], Collection[Any]] | None = None, look: float | None = None,
        *, gpus: float | None = None, variables: Callable[[], dict[str, str]] = dict,
    ) -> Iterator[tuple[Any, Any]]:  # fmt: skip
        """See `workers.each`. On a cluster each worker takes so many `gpus`, None what the section `compute` says, and
        has these `variables` in its environment, which nothing logs."""

    def train(
        self, training: "Training", train: Split, validation: Split
    ) -> "tuple[Classifier, Iterator[Epoch], resume.Checkpoint]":
        """See `Training.begin`; the classifier is on `device`."""

    def costs(self, since: float, images: int) -> dict[str, float]:
        """See `compute.costs`."""

    def machine(self) -> dict[str, Any]:
        """See `compute.machine`."""


class Local:
    """This process does it all, or others on this machine."""

    apart = False

    def __init__(self, settings: config.Compute) -> None:
        self.place = compute.resolve(settings)
        self.device = self.place.device

    each = staticmethod(resume.here)

    def work_off(self, *asked: Any, **_: Any) -> Iterator[tuple[Any, Any]]:
        return workers.each(*asked)

    def lend(self, read: Callable[[str], Split], *_: str) -> Callable[[str], Split]:
        return read

    def train(
        self, training: "Training", train: Split, validation: Split
    ) -> "tuple[Classifier, Iterator[Epoch], resume.Checkpoint]":
        return training.begin(train, validation, self.place)

    def costs(self, since: float, images: int) -> dict[str, float]:
        return compute.costs(compute.peak_memory(self.device), since, images)

    def machine(self) -> dict[str, Any]:
        return compute.machine(self.place)


@contextmanager
def _local(settings: config.Compute) -> Iterator[Local]:
    yield Local(settings)


def start(settings: config.Compute) -> AbstractContextManager[Engine]:
    """The engine that the section `compute` names, until the block ends.

    Raises:
        UserError: CUDA is asked for and there is none; the cluster, or what it takes to reach it, is not there.
    """
    if settings.engine == "local":
        return _local(settings)
    from glassbox import cluster

    return cluster.connect(settings)
