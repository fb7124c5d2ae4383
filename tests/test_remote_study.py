"""A finished study on another machine: DVC pushes it to a folder behind a real sshd, git carries the rest."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import NAMES, SHRINK, first_made, nightly, ran, shell
from services import AUTHOR, Sshd, end, free_port, listens, make_key, sshd, wait_until

from glassbox.core import files

OF_THE_USER = ("reports/photos/", "reports/compare/")


def configure(project: Path, **settings: object) -> None:
    """Set options of DVC's remote for one clone, as `dvc remote modify --local` does."""
    lines = [f"    {key} = {value}\n" for key, value in settings.items()]
    (project / ".dvc/config.local").write_text("".join(["['remote \"cluster\"']\n", *lines]))


@dataclass
class Pushed:
    """A study that was pushed with DVC's run cache, which has the inputs of every stage."""

    project: Path
    remote: Path  # the folder behind the sshd
    server: Sshd

    def clone(self, to: Path) -> Path:
        """The study as git has it, on "another machine", which has a key of the server."""
        shell("git", "clone", "-q", str(self.project), str(to), cwd=to.parent)
        configure(to, keyfile=self.server.key)
        return to


@pytest.fixture(scope="module")
def pushed(made_study, tmp_path_factory) -> Iterator[Pushed]:
    folder = tmp_path_factory.mktemp("remote")
    with sshd(folder) as server:
        project, remote = first_made(made_study, folder / "a study", *SHRINK), folder / "kept"
        shell("dvc", "remote", "add", "--default", "cluster", server.uri(remote), cwd=project)
        configure(project, keyfile=server.key)
        shell("dvc", "push", "--run-cache", cwd=project)
        shell("git", "add", "params.yaml", "dvc.lock", ".dvc/config", "reports/summary.json", cwd=project)
        shell("git", "commit", "-qm", "a finished study", cwd=project, **AUTHOR)
        yield Pushed(project, remote, server)


def outputs(project: Path) -> dict[str, str]:
    """SHA-256 of every file that the stages wrote."""
    paths = [path for folder in ("data/prepared", "models", "reports") for path in (project / folder).rglob("*")]
    names = {path: path.relative_to(project).as_posix() for path in paths if path.is_file()}
    return {name: files.sha256(path) for path, name in names.items() if not name.startswith(OF_THE_USER)}


@nightly
def test_elsewhere_nothing_is_left_to_do_or_without_dvcs_lock_in_git_only_the_report(pushed, tmp_path):
    elsewhere = pushed.clone(tmp_path / "elsewhere")
    shell("dvc", "pull", cwd=elsewhere)
    assert outputs(elsewhere) == outputs(pushed.project)
    printed = shell("dvc", "repro", cwd=elsewhere, GLASSBOX_TRACKING="off").stdout
    for name in NAMES:
        assert f"Stage '{name}' didn't change, skipping" in printed
    assert "Data and pipelines are up to date." in printed

    shell("git", "clean", "-qfdx", "--exclude=.dvc/config.local", cwd=elsewhere)  # as in a new clone
    for path in (elsewhere / "dvc.lock", elsewhere / "reports/summary.json"):  # of a user who does not commit them
        path.unlink()
    printed = shell("dvc", "repro", "--pull", cwd=elsewhere, GLASSBOX_TRACKING="off").stdout
    assert ran(printed) == ["report"]
    for name in NAMES[:-1]:
        assert f"Stage '{name}' is cached - skipping run, checking out outputs" in printed
    assert outputs(elsewhere) == outputs(pushed.project)


def test_the_key_is_in_no_file_that_git_keeps_and_not_in_the_remote(pushed):
    secret = pushed.server.key.read_text().splitlines()[1]
    kept = shell("git", "grep", "-l", "-F", "-e", secret, "-e", str(pushed.server.key), cwd=pushed.project, check=False)
    assert (kept.returncode, kept.stdout) == (1, "")
    assert "ssh://" in shell("git", "grep", "-h", "url", ".dvc/config", cwd=pushed.project).stdout
    paths = [path for path in pushed.remote.rglob("*") if path.is_file()]
    assert len(paths) > 50
    assert [path for path in paths if secret.encode() in path.read_bytes()] == []


def in_sync(project: Path, **changes: str) -> subprocess.CompletedProcess:
    return shell("dvc", "status", "--cloud", cwd=project, check=False, **changes)


@contextmanager
def tunnel(server: Sshd, known_hosts: Path) -> Iterator[int]:
    """OpenSSH's own connection to the server, whose key must be in `known_hosts`: a port of this machine."""
    port, log = free_port(), known_hosts.parent / "tunnel.log"
    forward = f"127.0.0.1:{port}:127.0.0.1:{server.port}"
    command = ["ssh", "-F", os.devnull, "-N", "-i", server.key, "-L", forward, "-p", str(server.port)]
    for option in (f"UserKnownHostsFile={known_hosts}", "StrictHostKeyChecking=yes", "ExitOnForwardFailure=yes"):
        command += ["-o", option]
    command += ["-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", f"{server.user}@{server.host}"]
    with log.open("w") as file:
        ssh = subprocess.Popen(command, stderr=file, start_new_session=True)
    try:
        wait_until(lambda: listens(port), log, ssh)
        yield port
    finally:
        end(ssh)


def test_strangers_are_refused_and_the_server_is_identified_by_openssh_and_not_by_dvc(pushed, tmp_path):
    """docs/cluster.md relies on this: DVC's SSH takes any host for the right one."""
    elsewhere = pushed.clone(tmp_path / "elsewhere")
    other = tmp_path / ".ssh" / "known_hosts"
    other.parent.mkdir()
    make_key(tmp_path / "other")
    other.write_text(f"[{pushed.server.host}]:{pushed.server.port} {(tmp_path / 'other.pub').read_text()}")
    assert in_sync(elsewhere, HOME=str(tmp_path)).returncode == 0

    configure(elsewhere, keyfile=tmp_path / "other")
    refused = in_sync(elsewhere, HOME=str(tmp_path))
    assert refused.returncode != 0
    assert "Permission denied" in refused.stderr

    with pytest.raises(pytest.fail.Exception, match="Host key verification failed"), tunnel(pushed.server, other):
        pass
    with tunnel(pushed.server, pushed.server.known_hosts) as port:
        address = f"ssh://{pushed.server.user}@127.0.0.1:{port}{pushed.remote}"
        configure(elsewhere, keyfile=pushed.server.key, url=address)
        assert in_sync(elsewhere).returncode == 0
    assert in_sync(elsewhere).returncode != 0  # that was the only way there
