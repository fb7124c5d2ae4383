"""Ray clusters of several nodes."""

import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from machines import Machine

# Nodes, unlike a cluster of this process, start workers by a shell to which they do not quote Python's path.
NO_WORKERS = f"Ray's own nodes begin no workers from {sys.prefix}"
IS_QUOTED = shlex.quote(sys.executable) != sys.executable
NODES_OF_RAYS_OWN = pytest.mark.skipif(IS_QUOTED, reason=NO_WORKERS)
# How soon a node that answers no more is taken for dead: by itself a cluster takes a quarter of a minute and more.
SOON = {
    "health_check_initial_delay_ms": 1000,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 1000,
    "health_check_failure_threshold": 3,
}
WITHOUT = {"include_log_monitor": False}  # it reads all that workers print, for stages that do not ask for it


@contextmanager
def nodes(*modules: ModuleType, **head: Any) -> Iterator[Any]:
    """A cluster of a head with one CPU, to which `add` adds nodes; it is sent the functions of tests' modules."""
    if IS_QUOTED:
        pytest.skip(NO_WORKERS)
    utils = pytest.importorskip("ray.cluster_utils", reason="Ray is missing: pip install 'glassbox[cluster]'")
    for module in modules:
        utils.ray.cloudpickle.register_pickle_by_value(module)  # nodes do not have the tests
    # In whose file it leaves the address of the newest cluster, wherever its own folder is, and which it does not make.
    Path(utils.ray._private.utils.get_ray_address_file(None)).parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        own = {"num_cpus": 1, "include_dashboard": False, "temp_dir": f"{folder}/head", **WITHOUT}
        made = utils.Cluster(initialize_head=True, head_node_args=own | head)
        made.folder = folder
        try:
            yield made
        finally:
            made.shutdown()


def add(cluster: Any) -> Any:
    """A node more, with one CPU and a folder of its own: in one that nodes share, each unpacks the same code once more,
    and takes it from under the feet of the others' processes."""
    return cluster.add_node(num_cpus=1, temp_dir=tempfile.mkdtemp(dir=cluster.folder), **WITHOUT)


@contextmanager
def node(machine: Machine, cluster: Any) -> Iterator[None]:
    """A node with one CPU on a machine of its own, which has joined the cluster."""
    own = [f"--node-ip-address={machine.address}", "--num-cpus=1", f"--temp-dir={tempfile.mkdtemp(dir=cluster.folder)}"]
    started = machine.popen(
        sys.executable,
        "-m",
        "ray.scripts.scripts",
        "start",
        "--block",
        f"--address={cluster.address}",
        *own,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 60
        known = cluster.global_state.node_table
        while not any(one["Alive"] and one["NodeManagerAddress"] == machine.address for one in known()):
            assert started.poll() is None, "it did not start"
            assert time.monotonic() < deadline, "it did not join"
            time.sleep(0.2)
        yield
    finally:
        started.kill()
        started.wait()
