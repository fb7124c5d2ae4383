"""Machines for tests, as Linux namespaces: each has its own network address, processes, home folder and /tmp/ray, and
shares the rest of the disk with this machine. A switch connects them and this machine."""

import os
import pwd
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

# The first process of a machine. Writes to home folders stay in the machine.
START = """
set -e
folder=$1
shift
ip link set lo up
mkdir -p "$folder/ray" /tmp/ray
mount --bind "$folder/ray" /tmp/ray
for home in "$@"; do
    mkdir -p "$folder/new$home" "$folder/work$home"
    chown --reference="$home" "$folder/new$home"
    mount -t overlay overlay -o "lowerdir=$home,upperdir=$folder/new$home,workdir=$folder/work$home" "$home"
done
echo up
# It has to reap orphaned processes, as bash does.
while :; do sleep 3600 & wait $!; done
"""


class Machine:
    """A machine of a `Network`."""

    def __init__(self, name: str, address: str, folder: Path) -> None:
        self.address, self._name = address, name
        self.home = folder / "new" / Path.home().relative_to("/")  # what was written to the home of the test's user
        unshare = "unshare --mount --pid --fork --kill-child --mount-proc"
        homes = {str(Path.home()), *(user.pw_dir for user in pwd.getpwall() if user.pw_name == "postgres")}
        command = ["ip", "netns", "exec", name, *unshare.split(), "bash", "-c", START, "start", folder, *homes]
        self._first = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if self._first.stdout.readline() != "up\n":
            pytest.skip(f"no machine can be created here: {self._first.stderr.read().strip()}")
        (self._init,) = psutil.Process(self._first.pid).children()

    def command(self, *command: str) -> list[str]:
        """The command line that runs a command there."""
        return ["nsenter", f"--target={self._init.pid}", "--net", "--mount", "--pid", "--wd=.", "--", *command]

    def run(self, script: str, user: str | None = None, **options: Any) -> str:
        """Run a script of bash there as this user, or as the test's. It ends at the first command that fails; programs
        that it starts in the background continue. Returns what it printed."""
        shell = ["bash", "-e", "-o", "pipefail", "-c", script]
        login = ["runuser", "-u", user, "--", "env", f"HOME={pwd.getpwnam(user).pw_dir}"] if user else []
        # A file, because a pipe stays open as long as programs in the background do.
        with tempfile.TemporaryFile("w+") as output:
            done = subprocess.run(self.command(*login, *shell), stdout=output, stderr=output, text=True, **options)
            output.seek(0)
            text = output.read()
        assert done.returncode == 0, f"{script}: {text}"
        return text

    def cut(self) -> None:
        """Disconnect it from the network."""
        _run("ip", "link", "set", self._name, "down")

    def end(self) -> None:
        self._init.send_signal(signal.SIGKILL)  # the kernel then ends all others
        self._first.wait()


class Network:
    """A network. See `network`."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        # Names and addresses that no other process of tests uses.
        self._stack, self._folder, self._name = stack, folder, f"gb{os.getpid()}"
        self._net, self._used = f"10.213.{os.getpid() % 256}", 1
        self.host = f"{self._net}.1"  # the address of this machine
        try:
            _run("ip", "link", "add", self._name, "type", "bridge")
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"no network can be created here ({error}): root and iproute2 are needed")
        stack.callback(_run, "ip", "link", "del", self._name)
        _run("ip", "addr", "add", f"{self.host}/24", "dev", self._name)
        _run("ip", "link", "set", self._name, "up")

    def machine(self) -> Machine:
        """Add a machine."""
        self._used += 1
        name, address = f"{self._name}-{self._used}", f"{self._net}.{self._used}"
        _run("ip", "netns", "add", name)
        self._stack.callback(_run, "ip", "netns", "del", name)
        _run("ip", "link", "add", name, "type", "veth", "peer", "name", "cable", "netns", name)
        self._stack.callback(_run, "ip", "link", "del", name)  # else it stays for a while
        _run("ip", "link", "set", name, "master", self._name, "up")
        _run("ip", "-n", name, "addr", "add", f"{address}/24", "dev", "cable")
        _run("ip", "-n", name, "link", "set", "cable", "up")
        machine = Machine(name, address, self._folder / f"machine{self._used}")
        self._stack.callback(machine.end)
        return machine


@contextmanager
def network(folder: Path) -> Iterator[Network]:
    """A network without machines; their files will be in a folder. Skips the test if it cannot be created."""
    with ExitStack() as stack:
        yield Network(stack, folder)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
