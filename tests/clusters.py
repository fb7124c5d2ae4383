"""Ray clusters of several nodes on this machine, one of which may have a network of its own."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import pytest

# How soon a node that answers no more is taken for dead: by itself a cluster takes a quarter of a minute and more.
SOON = {
    "health_check_initial_delay_ms": 1000, "health_check_period_ms": 500, "health_check_timeout_ms": 1000,
    "health_check_failure_threshold": 3,
}  # fmt: skip


@contextmanager
def nodes(*modules: ModuleType, **head: Any) -> Iterator[Any]:
    """A cluster of a head with one CPU, to which `add` adds nodes; it is sent the functions of tests' modules."""
    utils = pytest.importorskip("ray.cluster_utils", reason="Ray is missing: pip install 'glassbox[cluster]'")
    for module in modules:
        utils.ray.cloudpickle.register_pickle_by_value(module)  # nodes do not have the tests
    made = utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False} | head)
    try:
        with tempfile.TemporaryDirectory(prefix="ray-") as made.folder:
            yield made
    finally:
        made.shutdown()


def add(cluster: Any) -> Any:
    """A node more, with one CPU and a folder of its own: in one that nodes share, each unpacks the same code once more,
    and takes it from under the feet of the others' processes."""
    return cluster.add_node(num_cpus=1, temp_dir=tempfile.mkdtemp(dir=cluster.folder))


@dataclass(frozen=True)
class Elsewhere:
    """A network namespace, as another machine would be. Made by `elsewhere`.

    Attributes:
        name: of the namespace, and of this end of the cable.
        host: address of this machine, seen from there.
        guest: its own.
    """

    name: str
    host: str
    guest: str

    def cut(self) -> None:
        """The two sides hear nothing of each other from now on."""
        run("ip", "link", "set", self.name, "down")

    @contextmanager
    def node(self, cluster: Any) -> Iterator[None]:
        """A node with one CPU that has joined a cluster."""
        ray = ["ip", "netns", "exec", self.name, sys.executable, "-m", "ray.scripts.scripts", "start", "--block"]
        node = subprocess.Popen(
            [*ray, f"--address={cluster.address}", f"--node-ip-address={self.guest}", "--num-cpus=1",
             f"--temp-dir={tempfile.mkdtemp(dir=cluster.folder)}"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            deadline = time.monotonic() + 60
            while not any(
                one["Alive"] for one in cluster.global_state.node_table() if one["NodeManagerAddress"] == self.guest
            ):
                assert node.poll() is None, "it did not start"
                assert time.monotonic() < deadline, "it did not join"
                time.sleep(0.2)
            yield
        finally:
            found = subprocess.run(["ip", "netns", "pids", self.name], capture_output=True, text=True, check=True)
            subprocess.run(["kill", "-9", *found.stdout.split()], check=False)
            node.wait()


@contextmanager
def elsewhere() -> Iterator[Elsewhere]:
    """A namespace with a cable to this machine; skips the test where none can be made."""
    name, network = f"glassbox{os.getpid()}"[-15:], f"10.213.{os.getpid() % 256}"
    made = Elsewhere(name, f"{network}.1", f"{network}.2")
    try:
        run("ip", "netns", "add", name)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no network namespace can be made here ({error}): root and iproute2 are needed")
    try:
        run("ip", "link", "add", name, "type", "veth", "peer", "name", "inside", "netns", name)
        run("ip", "addr", "add", f"{made.host}/24", "dev", name)
        run("ip", "link", "set", name, "up")
        for command in (f"addr add {made.guest}/24 dev inside", "link set inside up", "link set lo up"):
            run("ip", "netns", "exec", name, "ip", *command.split())
        yield made
    finally:
        subprocess.run(["ip", "link", "del", name], capture_output=True)
        run("ip", "netns", "del", name)


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
