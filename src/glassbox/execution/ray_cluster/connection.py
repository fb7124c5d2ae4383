"""A connection to a Ray cluster, and the files that are sent to its workers."""

import os
import shlex
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from glassbox.config.compute import Compute
from glassbox.core.errors import UserError, one_line
from glassbox.execution.ray_cluster import address, limits
from glassbox.execution.ray_cluster.engine import RayEngine

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # else Ray reports usage to its makers
WORKER_ENVIRONMENT = {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1"}  # a worker without a share of a GPU sees no GPU
PACKAGE = Path(__file__).parents[2]
WEIGHTS = Path("data/weights")


@contextmanager
def connect(settings: Compute) -> Iterator[RayEngine]:
    """The engine on the cluster that the section `compute` names, until the block ends.

    Raises:
        UserError: Ray is not installed, no cluster answers, its machines have other versions, or none is large enough
            for a worker.
    """
    address.check(settings)
    import ray

    with tempfile.TemporaryDirectory(prefix="glassbox-") as folder:
        _pack(Path(folder))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                # Without an address Ray would join any cluster that was started on this machine.
                _join(address.resolve(settings) or "local", folder)
        except (ray.exceptions.RayError, RuntimeError, ValueError, OSError) as error:
            raise address.refusal(settings, error) from None
        try:
            yield RayEngine(settings)
        except ConnectionError as error:
            if ray.is_initialized():
                raise  # another connection failed, not the one to the cluster
            where = address.resolve(settings)
            raise UserError(
                f"the cluster at {where} went away ({one_line(error)}): run the same command again once it is back, "
                "and it goes on where it was"
            ) from None
        finally:
            ray.shutdown()


def _join(where: str, folder: str) -> None:
    import ray

    options = {"include_dashboard": False} if where == "local" else {}
    runtime_env = {"working_dir": folder, "env_vars": WORKER_ENVIRONMENT} | _interpreter(where)
    for left in reversed(range(limits.RETRIES + 1)):
        try:
            ray.init(where, runtime_env=runtime_env, log_to_driver=False, logging_level="error", **options)
        except ConnectionAbortedError:
            # The process that a head starts for each client may crash as it is forked (Ray's issue 63202).
            ray.shutdown()
            if not left:
                raise
            print("the cluster's head could not begin to serve this stage: asking again", file=sys.stderr)
        else:
            return


def _interpreter(where: str) -> dict[str, str]:
    """The path of Python, quoted where it must be. Ray starts workers by a shell without quoting it, and waits for ever
    where the shell splits it."""
    quoted = shlex.quote(sys.executable)
    if quoted == sys.executable:
        return {}
    if where == "local":
        return {"py_executable": quoted}
    print(
        f"note: this environment is in {sys.prefix}; where that of a machine of the cluster is in a folder "
        "whose path a shell does not take as one word, as with a space in it, Ray begins no workers there",
        file=sys.stderr,
    )
    return {}


def _pack(folder: Path) -> None:
    """Copy what workers need of this repository: the package, and files of weights."""
    shutil.copytree(PACKAGE, folder / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__"))
    if WEIGHTS.is_dir():
        # Ray follows git's hidden files: by them it would leave out the files that DVC keeps.
        shutil.copytree(WEIGHTS, folder / WEIGHTS, ignore=shutil.ignore_patterns(".*"))
