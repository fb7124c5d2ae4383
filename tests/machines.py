"""Machines for tests: each has a network address, processes, a home folder and a /tmp/ray of its own, as namespaces of
this machine's kernel; all else of the disk they share with it. They hang on one switch, and so does this machine."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

# What a machine starts with: in a home that is this one's, what it writes stays its own.
BEGIN = """
set -e
ip link set lo up
mkdir -p {home}/new {home}/work {home}/ray /tmp/ray
mount -t overlay overlay -o lowerdir=$HOME,upperdir={home}/new,workdir={home}/work $HOME
mount --bind {home}/ray /tmp/ray
echo up
exec sleep infinity
"""


class Machine:
    """Made by `Network.machine`; where a `with` block ends, all of its processes do.

    Attributes:
        address: in the network.
    """

    def __init__(self, name: str, address: str, folder: Path) -> None:
        self.address, self._name, self._folder = address, name, folder

    def _start(self) -> None:
        program = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c"]
        self._first = subprocess.Popen(
            ["ip", "netns", "exec", self._name, *program, BEGIN.format(home=self._folder)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        if self._first.stdout.readline() != "up\n":
            pytest.skip(f"no machine can be made here: {self._first.stderr.read().strip()}")
        (self._init,) = psutil.Process(self._first.pid).children()

    def command(self, *command: str) -> list[str]:
        """What runs a command there."""
        return ["nsenter", f"--target={self._init.pid}", "--net", "--mount", "--pid", "--wd=.", "--", *command]

    def popen(self, *command: str, **options: Any) -> subprocess.Popen:
        """A process there."""
        return subprocess.Popen(self.command(*command), **options)

    def cut(self) -> None:
        """Pull its cable: nothing reaches it from now on, and nothing comes."""
        _run("ip", "link", "set", self._name, "down")

    def end(self) -> None:
        self._init.send_signal(signal.SIGKILL)  # and the kernel all that it was the first process of
        self._first.wait()


class Network:
    """Made by `network`.

    Attributes:
        host: address of this machine in it.
    """

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        # Names and addresses of one process of tests, and no other's.
        self._stack, self._folder, self._name = stack, folder, f"gb{os.getpid()}"
        self._net, self._used = f"10.213.{os.getpid() % 256}", 1
        self.host = f"{self._net}.1"
        try:
            _run("ip", "link", "add", self._name, "type", "bridge")
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"no network can be made here ({error}): root and iproute2 are needed")
        stack.callback(_run, "ip", "link", "del", self._name)
        _run("ip", "addr", "add", f"{self.host}/24", "dev", self._name)
        _run("ip", "link", "set", self._name, "up")

    def machine(self) -> Machine:
        """One more machine."""
        self._used += 1
        name, address = f"{self._name}-{self._used}", f"{self._net}.{self._used}"
        made = Machine(name, address, self._folder / f"machine{self._used}")
        _run("ip", "netns", "add", name)
        self._stack.callback(_run, "ip", "netns", "del", name)
        _run("ip", "link", "add", name, "type", "veth", "peer", "name", "cable", "netns", name)
        self._stack.callback(_run, "ip", "link", "del", name)  # a namespace that ends takes its own time for it
        _run("ip", "link", "set", name, "master", self._name, "up")
        _run("ip", "-n", name, "addr", "add", f"{address}/24", "dev", "cable")
        _run("ip", "-n", name, "link", "set", "cable", "up")
        made._start()
        self._stack.callback(made.end)
        return made


@contextmanager
def network(folder: Path) -> Iterator[Network]:
    """A network without machines, whose own files will lie in a folder. Skips the test where none can be made."""
    with ExitStack() as stack:
        yield Network(stack, folder)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
