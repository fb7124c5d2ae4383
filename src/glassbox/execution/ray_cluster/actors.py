"""Ray actors as workers, and their results.

Workers are actors and not tasks because the cluster's head reports an actor whose process or machine is gone. For the
result of a task the stage would wait for minutes, until its connection times out.
"""

import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import ray
import torch

from glassbox.config.compute import Compute
from glassbox.core.errors import UserError, one_line
from glassbox.execution import compute, workers
from glassbox.execution.compute import Place
from glassbox.execution.ray_cluster import versions
from glassbox.execution.ray_cluster.resources import Resources


@dataclass(frozen=True)
class ProcessSettings:
    """Settings of the whole process of a worker."""

    place: Place
    threads: int  # of PyTorch
    versions: dict[str, str]  # the stage's, of the packages that can change results

    def apply(self) -> None:
        """See `Place.settle`; raises UserError if this machine has other versions."""
        versions.require(self.versions)
        self.place.settle()
        torch.set_num_threads(self.threads)


class Worker:
    """A process of `WorkerPool` that computes the records of items. The stage requests each record."""

    def describe(self, settings: Compute, stage_versions: dict[str, str]) -> tuple[Place, dict[str, Any]]:
        """Device and precision of this process, and `compute.machine`."""
        versions.require(stage_versions)
        place = compute.resolve(settings)
        return place, compute.machine(place)

    def set_up(self, settings: ProcessSettings, serve: Callable[[], Callable[[Any], workers.Records]]) -> None:
        settings.apply()
        self._records_of = serve()

    def begin(self, item: Any) -> tuple[Any] | None:
        """The first record of an item, if it has one."""
        self._records = self._records_of(item)
        return self.next()

    def next(self, answer: Any = None) -> tuple[Any] | None:
        """The next record, if there is one, after the answer to the last one."""
        try:
            return (self._records.send(answer),)
        except StopIteration:
            return None


def start_worker(resources: Resources) -> Any:
    """Request a worker. Ray starts its process as soon as a machine has room for it."""
    options = {"scheduling_strategy": "SPREAD", "max_restarts": 0}
    return ray.remote(Worker).options(**resources.options(), **options).remote()


@dataclass(frozen=True)
class Lost(workers.Died):
    """The process of an item is gone, alone or with its machine."""

    exit_code: int = field(default=-signal.SIGKILL, init=False)
    reason: str  # Ray's message
    import_failed: bool = False  # whether the process could not import what it needs

    def __str__(self) -> str:
        return f"its process or its machine was lost ({self.reason})"

    @property
    def killed(self) -> bool:  # fewer workers at a time would not prevent the loss of a machine
        return False


def result(request: Any) -> Any:
    """The result of a request to an actor; the error that it raised; or `Lost`."""
    losses = (
        ray.exceptions.RayActorError,
        ray.exceptions.WorkerCrashedError,
        ray.exceptions.NodeDiedError,
        ray.exceptions.OutOfMemoryError,
        ray.exceptions.ObjectLostError,  # the result was stored on the machine that is gone
    )
    try:
        return ray.get(request)
    except losses as error:
        return Lost(one_line(error), getattr(error, "actor_init_failed", False))
    except ray.exceptions.RayTaskError as error:
        return error.cause if isinstance(error.cause, UserError) else error
