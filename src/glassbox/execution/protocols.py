"""The interface of an engine, which stages use, and of a training, which engines use."""

from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

import torch

from glassbox.data.store import Split
from glassbox.execution import workers
from glassbox.execution.compute import Place
from glassbox.provenance import resume
from glassbox.provenance.resume import Arrays, Items, Work

if TYPE_CHECKING:
    from glassbox.config.train import Train


class Training(Protocol):
    """What an engine needs of a training; `glassbox.training.loop.Training` is one, and says what each is."""

    @property
    def settings(self) -> "Train": ...

    def begin(self, train: Split, validation: Split, place: Place) -> tuple[Any, Iterator[Any], resume.Checkpoint]: ...

    def fresh(self, device: torch.device) -> torch.nn.Module: ...

    def checkpoint(self, place: Place) -> resume.Checkpoint: ...

    def ranks(self) -> Any: ...

    def epochs(
        self,
        classifier: Any,
        train: Split,
        validation: Split,
        place: Place,
        checkpoint: resume.Saved,
        ranks: Any = None,
    ) -> Iterator[Any]: ...

    def record(self, value: dict[str, Any]) -> Any: ...


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
        self,
        serve: Callable[[], Callable[[Any], workers.Records]],
        todo: deque,
        at_once: int,
        answer: Callable[[Any, Any], Any] = workers.no_answer,
        *,
        gpus: float | None = None,
    ) -> Iterator[tuple[Any, Any]]:
        """See `workers.each`. On a cluster each worker takes so many `gpus`, None what the section `compute` says."""

    def train(
        self, training: Training, train: Split, validation: Split
    ) -> tuple[Any, Iterator[Any], resume.Checkpoint]:
        """See `Training.begin`; the classifier is on `device`."""

    def costs(self, since: float, images: int) -> dict[str, float]:
        """See `compute.costs`."""

    def machine(self) -> dict[str, Any]:
        """See `compute.machine`."""
