"""Ray clusters of several nodes, and a small training for them."""

import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from conftest import SMALL_CNN, model
from machines import Machine

from glassbox.config.hyperparameters import together
from glassbox.config.parameters import Params
from glassbox.training.loop import Training
from glassbox.training.records import Epoch
from tests.searches import DATA

# Nodes, unlike a cluster of this process, start workers by a shell to which they do not quote Python's path.
NO_WORKERS = f"Ray's own nodes start no workers from {sys.prefix}"
IS_QUOTED = shlex.quote(sys.executable) != sys.executable
NODES_OF_RAYS_OWN = pytest.mark.skipif(IS_QUOTED, reason=NO_WORKERS)
# A node that does not respond counts as dead after 1.5 seconds; Ray's default is a quarter of a minute and more.
SOON = {
    "health_check_initial_delay_ms": 1000,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 1000,
    "health_check_failure_threshold": 3,
}
WITHOUT_LOGS = {"include_log_monitor": False}  # it reads all that workers print


@contextmanager
def nodes(*modules: ModuleType, **head: Any) -> Iterator[Any]:
    """A cluster of a head with one CPU, to which `add` adds nodes. It can be sent functions of these test modules."""
    if IS_QUOTED:
        pytest.skip(NO_WORKERS)
    utils = pytest.importorskip("ray.cluster_utils", reason="Ray is missing: pip install 'glassbox-xai[cluster]'")
    for module in modules:
        utils.ray.cloudpickle.register_pickle_by_value(module)  # nodes do not have the tests
    # Ray writes the newest cluster's address into a file there, but does not create the folder.
    Path(utils.ray._private.utils.get_ray_address_file(None)).parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        defaults = {"num_cpus": 1, "include_dashboard": False, "temp_dir": f"{folder}/head", **WITHOUT_LOGS}
        cluster = utils.Cluster(initialize_head=True, head_node_args=defaults | head)
        cluster.folder = folder
        try:
            yield cluster
        finally:
            cluster.shutdown()


def add(cluster: Any) -> Any:
    """Add a node with one CPU and its own folder: in a shared one each node would unpack the code again while others
    use it."""
    return cluster.add_node(num_cpus=1, temp_dir=tempfile.mkdtemp(dir=cluster.folder), **WITHOUT_LOGS)


@contextmanager
def node(machine: Machine, cluster: Any) -> Iterator[None]:
    """A node with one CPU on another machine, which has joined the cluster."""
    options = [f"--address={cluster.address}", f"--node-ip-address={machine.address}", "--num-cpus=1", "--block"]
    options.append(f"--temp-dir={tempfile.mkdtemp(dir=cluster.folder)}")
    command = machine.command(sys.executable, "-m", "ray.scripts.scripts", "start", *options)
    started = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        known = cluster.global_state.node_table
        while not any(node["Alive"] and node["NodeManagerAddress"] == machine.address for node in known()):
            assert started.poll() is None, "it did not start"
            assert time.monotonic() < deadline, "it did not join"
            time.sleep(0.2)
        yield
    finally:
        started.kill()
        started.wait()


def training(params: Params, **changes: Any) -> Training:
    """A training of four epochs on `searches.DATA`, with batch norm and dropout."""
    network = SMALL_CNN | {"l2_reg_1": 1e-4, "dropout_1": 0.2, "dense_units_1": 16, "dense_dropout_1": 0.2}
    adam = {"optimizer": "adam", "learning_rate": 0.01, "momentum": None, "rho": None}
    settings = params.train.model_copy(update=adam | {"epochs": 4, "batch_size": 16, "patience": 4} | changes)
    return Training(together(model("cnn", network), settings, params.augment), DATA, seed=0)


def curve(epochs: Iterable[Epoch]) -> list[tuple]:
    """What is the same wherever a network was trained."""
    return [(e.train_loss, e.train_accuracy, e.validation_loss, e.validation_accuracy, e.is_best) for e in epochs]
