"""CPUs and GPUs of workers, and the room that the machines of the cluster have for them."""

import sys
import time
from dataclasses import dataclass, field

import ray

from glassbox.core.errors import UserError
from glassbox.execution.ray_cluster import limits


@dataclass(frozen=True)
class Resources:
    """Resources of one worker."""

    cpus: int
    gpus: float  # number of GPUs, or a share of one
    gpus_parameter: str = field(default="compute.gpus", compare=False)  # the parameter that sets `gpus`

    def options(self) -> dict[str, float]:
        """Options of a Ray actor."""
        return {"num_cpus": self.cpus, "num_gpus": self.gpus}

    def bundle(self) -> dict[str, float]:
        """The resources that are not 0, by Ray's names."""
        return {kind: amount for kind, amount in (("CPU", self.cpus), ("GPU", self.gpus)) if amount}

    def __str__(self) -> str:
        return f"{self.cpus} CPUs and {self.gpus:g} GPUs (compute.cpus, {self.gpus_parameter})"


def wait_for_room(resources: Resources, *, workers: int, reason: str) -> None:
    """Wait until the cluster's machines have room for workers that were requested: a cluster with an autoscaler adds
    machines for pending requests.

    Args:
        resources: resources of each worker.
        workers: number of workers.
        reason: why that many are needed, for messages.

    Raises:
        UserError: there is no room after `limits.ROOM_TIMEOUT` seconds.
    """
    start, reported = time.monotonic(), False
    while True:
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        room = sum(_room(node, resources) for node in nodes)
        if room >= workers:
            return
        there = "; ".join(f"{node.get('CPU', 0):g} CPUs, {node.get('GPU', 0):g} GPUs" for node in nodes)
        shortage = (
            f"{reason}, and a worker takes {resources}, but the machines of the cluster have {there}: room for {room}"
        )
        if time.monotonic() - start >= limits.ROOM_TIMEOUT:
            raise UserError(shortage)
        if not reported:
            print(f"{shortage}; waiting for more", file=sys.stderr)
            reported = True
        time.sleep(min(5.0, limits.ROOM_TIMEOUT))


def _room(node: dict[str, float], resources: Resources) -> int:
    """Number of workers that a machine has room for."""
    return min(int(node.get(kind, 0) / amount) for kind, amount in resources.bundle().items())
