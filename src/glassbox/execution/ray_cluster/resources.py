"""CPUs and GPUs of workers, and whether the machines of the cluster have them."""

import sys
import time
from dataclasses import dataclass, field

from glassbox.core.errors import UserError
from glassbox.execution.ray_cluster import limits


@dataclass(frozen=True)
class Resources:
    """What one worker takes of a machine.

    Attributes:
        cpus: processors.
        gpus: GPUs, or a share of one.
        gpus_parameter: the parameter that sets `gpus`.
    """

    cpus: int
    gpus: float
    gpus_parameter: str = field(default="compute.gpus", compare=False)

    def options(self) -> dict[str, float]:
        """Options of a Ray actor."""
        return {"num_cpus": self.cpus, "num_gpus": self.gpus}

    def bundle(self) -> dict[str, float]:
        """Resources by the names that Ray has for them, without those that are not taken."""
        return {kind: amount for kind, amount in (("CPU", self.cpus), ("GPU", self.gpus)) if amount}

    def __str__(self) -> str:
        return f"{self.cpus} CPUs and {self.gpus:g} GPUs (compute.cpus, {self.gpus_parameter})"


def wait_for_room(resources: Resources, *, workers: int, reason: str) -> None:
    """Wait until the cluster's machines are large enough for a number of workers at a time. They must have been
    requested from Ray before: a cluster that grows by itself does so when requests are pending.

    Args:
        resources: of each worker.
        workers: how many.
        reason: why that many are needed, for messages.

    Raises:
        UserError: they are not large enough within `limits.ROOM_TIMEOUT` seconds.
    """
    import ray

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
    """Workers that a machine has room for."""
    return min(int(node.get(kind, 0) / amount) for kind, amount in resources.bundle().items())
