"""Ray clusters of several nodes on this machine."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import pytest

# How soon a node that answers no more is taken for dead: by itself a cluster takes a quarter of a minute and more.
SOON = {
    "health_check_initial_delay_ms": 1000, "health_check_period_ms": 500, "health_check_timeout_ms": 1000,
    "health_check_failure_threshold": 3,
}  # fmt: skip


@contextmanager
def nodes(module: ModuleType, **head: Any) -> Iterator[Any]:
    """A cluster of a head with one CPU, to which nodes can be added; it is sent the functions of a test's module."""
    utils = pytest.importorskip("ray.cluster_utils", reason="Ray is missing: pip install 'glassbox[cluster]'")
    utils.ray.cloudpickle.register_pickle_by_value(module)  # nodes do not have the tests
    made = utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False} | head)
    try:
        yield made
    finally:
        made.shutdown()


@contextmanager
def elsewhere(name: str, host: str, guest: str) -> Iterator[None]:
    """A network namespace `name`, in which the machine has the address `guest`, and outside of it `host`; `cut` parts
    them."""
    try:
        run("ip", "netns", "add", name)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no network namespace can be made here ({error}): root and iproute2 are needed")
    try:
        run("ip", "link", "add", name, "type", "veth", "peer", "name", "inside", "netns", name)
        run("ip", "addr", "add", f"{host}/24", "dev", name)
        run("ip", "link", "set", name, "up")
        for command in (f"addr add {guest}/24 dev inside", "link set inside up", "link set lo up"):
            run("ip", "netns", "exec", name, "ip", *command.split())
        yield
    finally:
        subprocess.run(["ip", "link", "del", name], capture_output=True)
        run("ip", "netns", "del", name)


def cut(name: str) -> None:
    """The two sides of a namespace hear nothing of each other from now on."""
    run("ip", "link", "set", name, "down")


@contextmanager
def node_in(name: str, address: str, guest: str) -> Iterator[None]:
    """A node in a namespace, with one CPU."""
    ray = ["ip", "netns", "exec", name, sys.executable, "-m", "ray.scripts.scripts", "start", "--block"]
    node = subprocess.Popen(
        [*ray, f"--address={address}", f"--node-ip-address={guest}", "--num-cpus=1"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield
    finally:
        pids = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True, check=True).stdout.split()
        subprocess.run(["kill", "-9", *pids], check=False)
        node.wait()


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
