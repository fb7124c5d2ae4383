"""The engine of a stage on this machine, and the interface of that on a cluster (`ray_cluster.engine`)."""

from collections.abc import Callable, Iterator
from typing import Any

import torch

from glassbox.config.compute import Compute
from glassbox.data.store import Split
from glassbox.execution import compute, workers
from glassbox.execution.compute import Place
from glassbox.provenance import resume
from glassbox.provenance.resume import Arrays, Items, Work


class Engine:
    """Does the work of a stage: in this process, and in others of this machine.

    Args:
        settings: the section `compute`.

    Attributes:
        place: device and precision of the work.
        device: device of what the stage computes itself.
        apart: whether each worker has a machine, or processors, to itself.
    """

    apart = False
    place: Place
    device: torch.device

    def __init__(self, settings: Compute) -> None:
        self.place = compute.resolve(settings)
        self.device = self.place.device

    def each(self, work: Work, classifier: Any, items: Items) -> Iterator[Arrays]:
        """See `resume.Keep.each`."""
        return resume.here(work, classifier, items)

    def lend(self, read: Callable[[str], Split], *splits: str) -> Callable[[str], Split]:  # noqa: ARG002
        """`read` in a form that can be sent to workers by pickle; it gives images and labels of these splits."""
        return read

    def work_off(self, *queue: Any, gpus: float | None = None) -> Iterator[tuple[Any, Any]]:  # noqa: ARG002
        """Work off a queue.

        Args:
            queue: the arguments of `workers.each`.
            gpus: GPUs of each worker on a cluster; None = `compute.gpus`.

        Yields:
            See `workers.each`.
        """
        return workers.each(*queue)

    def train(self, training: Any, train: Split, validation: Split) -> tuple[Any, Iterator[Any], resume.Checkpoint]:
        """Run a `glassbox.training.loop.Training`, see its method `begin`; the classifier is on `device`."""
        return training.begin(train, validation, self.place)

    def costs(self, since: float, images: int) -> dict[str, float]:
        """See `compute.costs`."""
        return compute.costs(compute.peak_memory(self.device), since, images)

    def machine(self) -> dict[str, Any]:
        """See `compute.machine`."""
        return compute.machine(self.place)
