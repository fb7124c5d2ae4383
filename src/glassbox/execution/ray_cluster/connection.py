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

import ray

from glassbox.config.compute import Compute
from glassbox.core.errors import UserError, one_line
from glassbox.execution.ray_cluster import address, limits
from glassbox.execution.ray_cluster.engine import RayEngine
from glassbox.provenance.fingerprint import NETWORKS

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # else Ray sends usage statistics to its developers
WORKER_ENVIRONMENT = {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1"}  # a worker without a share of a GPU sees no GPU
PACKAGE = Path(__file__).parents[2]
WEIGHTS = Path("data/weights")


@contextmanager
def connect(settings: Compute) -> Iterator[RayEngine]:
    """The engine on the cluster that the section `compute` names, until the block ends.

    Raises:
        UserError: the cluster does not respond, its machines have other versions, or none has room for a worker.
    """
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
                f"the connection to the cluster at {where} was lost ({one_line(error)}): when it is back, run the same "
                "command again to resume"
            ) from None
        finally:
            ray.shutdown()


def _join(where: str, folder: str) -> None:
    options = {"include_dashboard": False} if where == "local" else {}
    runtime_env = {"working_dir": folder, "env_vars": WORKER_ENVIRONMENT} | _interpreter(where)
    for attempt in range(limits.RETRIES + 1):
        try:
            ray.init(where, runtime_env=runtime_env, log_to_driver=False, logging_level="error", **options)
            return
        except ConnectionAbortedError:
            # The process that a head starts for each client may crash as it is forked (Ray's issue 63202).
            ray.shutdown()
            if attempt == limits.RETRIES:
                raise
            print("the cluster's head could not serve this stage: trying again", file=sys.stderr)


def _interpreter(where: str) -> dict[str, str]:
    """The path of Python, quoted if necessary. Ray passes it to a shell unquoted, and would wait forever if the shell
    splits it."""
    quoted = shlex.quote(sys.executable)
    if quoted == sys.executable:
        return {}
    if where == "local":
        return {"py_executable": quoted}
    print(
        f"note: this environment is in {sys.prefix}. On a machine of the cluster whose environment has a space or "
        "another special character of shells in its path, Ray cannot start workers",
        file=sys.stderr,
    )
    return {}


def _pack(folder: Path) -> None:
    """Copy the package, the user's networks and the files of weights."""
    for code in filter(Path.is_dir, (PACKAGE, NETWORKS)):
        shutil.copytree(code, folder / code.name, ignore=shutil.ignore_patterns("__pycache__"))
    if WEIGHTS.is_dir():
        # Without .gitignore, by which Ray would leave out DVC's files.
        shutil.copytree(WEIGHTS, folder / WEIGHTS, ignore=shutil.ignore_patterns(".*"))
