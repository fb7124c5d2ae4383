"""Machines for tests: each has a network address, processes, a home folder and a /tmp/ray of its own, as namespaces of
this machine's kernel; all else of the disk they share with it. They hang on one switch, and so does this machine."""

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

# What a machine starts with: in homes that are this one's, what it writes stays its own.
BEGIN = """
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
# The first process of a machine has to collect those that have ended and whose parents are gone, as bash does.
while :; do sleep 3600 & wait $!; done
"""


class Machine:
    """Made by `Network.machine`; where a `with` block ends, all of its processes do.

    Attributes:
        address: in the network.
        home: what was written to the home of the test's user there.
    """

    def __init__(self, name: str, address: str, folder: Path) -> None:
        self.address, self._name, self._folder = address, name, folder
        self.home = folder / "new" / Path.home().relative_to("/")

    def _start(self) -> None:
        program = [
            "unshare",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
            "bash",
            "-c",
            BEGIN,
            "begin",
        ]
        homes = {str(Path.home()), *(user.pw_dir for user in pwd.getpwall() if user.pw_name == "postgres")}
        self._first = subprocess.Popen(
            ["ip", "netns", "exec", self._name, *program, self._folder, *homes],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        if self._first.stdout.readline() != "up\n":
            pytest.skip(f"no machine can be made here: {self._first.stderr.read().strip()}")
        (self._init,) = psutil.Process(self._first.pid).children()

    def command(self, *command: str) -> list[str]:
        """What runs a command there."""
        return ["nsenter", f"--target={self._init.pid}", "--net", "--mount", "--pid", "--wd=.", "--", *command]

    def popen(self, *command: str, **options: Any) -> subprocess.Popen:
        """A process there."""
        return subprocess.Popen(self.command(*command), **options)

    def run(self, script: str, user: str | None = None, **options: Any) -> str:
        """What a script of bash prints there; a failure shows it. What it leaves running goes on.

        Args:
            script: which ends at the first command that fails.
            user: whose it is; None is that of the test.
        """
        shell = ["bash", "-e", "-o", "pipefail", "-c", script]
        # A file: of a pipe the end would be that of the last program that the script leaves running.
        with tempfile.TemporaryFile("w+") as said:
            login = ["runuser", "-u", user, "--", "env", f"HOME={pwd.getpwnam(user).pw_dir}"] if user else []
            done = subprocess.run(self.command(*login, *shell), stdout=said, stderr=said, text=True, **options)
            said.seek(0)
            text = said.read()
        assert done.returncode == 0, f"{script}: {text}"
        return text

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
