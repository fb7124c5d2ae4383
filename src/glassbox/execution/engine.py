"""Where the work of a stage is done: on this machine, or on a Ray cluster. Nothing else depends on which."""

from contextlib import AbstractContextManager, nullcontext

from glassbox.config.compute import Compute
from glassbox.execution.base import Engine
from glassbox.execution.ray_cluster import address


def start(settings: Compute) -> AbstractContextManager[Engine]:
    """The engine that the section `compute` names, until the block ends.

    Raises:
        UserError: CUDA is required and missing; Ray is not installed, or the cluster cannot be used.
    """
    if settings.engine == "local":
        return nullcontext(Engine(settings))
    address.check(settings)
    from glassbox.execution.ray_cluster import connection  # imports ray

    return connection.connect(settings)
