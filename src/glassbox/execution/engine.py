"""Where a stage's work is done: in this process, or by workers of a Ray cluster. Nothing else knows which."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from glassbox.config.compute import Compute
from glassbox.data.store import Split
from glassbox.execution import compute, workers
from glassbox.execution.protocols import Engine, Training
from glassbox.provenance import resume


class Local:
    """This process does it all, or others on this machine."""

    apart = False

    def __init__(self, settings: Compute) -> None:
        self.place = compute.resolve(settings)
        self.device = self.place.device

    each = staticmethod(resume.here)

    def work_off(self, *asked: Any, gpus: float | None = None) -> Iterator[tuple[Any, Any]]:  # noqa: ARG002
        return workers.each(*asked)

    def lend(self, read: Callable[[str], Split], *_: str) -> Callable[[str], Split]:
        return read

    def train(
        self, training: Training, train: Split, validation: Split
    ) -> tuple[Any, Iterator[Any], resume.Checkpoint]:
        return training.begin(train, validation, self.place)

    def costs(self, since: float, images: int) -> dict[str, float]:
        return compute.costs(compute.peak_memory(self.device), since, images)

    def machine(self) -> dict[str, Any]:
        return compute.machine(self.place)


def start(settings: Compute) -> AbstractContextManager[Engine]:
    """The engine that the section `compute` names, until the block ends.

    Raises:
        UserError: CUDA is asked for and there is none; the cluster, or what it takes to reach it, is not there.
    """
    if settings.engine == "local":
        return nullcontext(Local(settings))
    from glassbox.execution.ray_cluster import connection

    return connection.connect(settings)
