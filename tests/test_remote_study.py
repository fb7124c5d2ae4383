"""A finished study on another machine: DVC pushes it to a folder behind a real sshd, git carries the rest."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import NAMES, SHRINK, first_made, ran, shell
from services import Sshd, end, free_port, listens, sshd, wait_until

from glassbox.core import files

WHO = {f"GIT_{role}_{what}": "test@example.org" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}

OF_THE_USER = ("reports/photos/", "reports/compare/")


@dataclass
class Pushed:
    """A study whose files and whose record of what made them (DVC's run cache) were pushed."""

    project: Path
    remote: Path  # the folder behind the sshd
    server: Sshd

    def clone(self, to: Path) -> Path:
        """The study as git has it, on "another machine", which has a key of the server."""
        shell("git", "clone", "-q", str(self.project), str(to), cwd=to.parent)
        shell("dvc", "remote", "modify", "--local", "cluster", "keyfile", str(self.server.key), cwd=to)
        return to


@pytest.fixture(scope="module")
def pushed(made_study, tmp_path_factory) -> Iterator[Pushed]:
    folder = tmp_path_factory.mktemp("remote")
    with sshd(folder) as server:
        project, remote = first_made(made_study, folder / "a study", *SHRINK), folder / "kept"
        shell("dvc", "remote", "add", "--default", "cluster", server.uri(remote), cwd=project)
        shell("dvc", "remote", "modify", "--local", "cluster", "keyfile", str(server.key), cwd=project)
        shell("dvc", "push", "--run-cache", cwd=project)
        shell("git", "add", "params.yaml", "dvc.lock", ".dvc/config", "reports/summary.json", cwd=project)
        shell("git", "commit", "-qm", "a finished study", cwd=project, **WHO)
        yield Pushed(project, remote, server)


def outputs(project: Path) -> dict[str, str]:
    """SHA-256 of every file that the stages made, but for pages of the user's own."""
    found = [path for folder in ("data/prepared", "models", "reports") for path in (project / folder).rglob("*")]
    names = {path: path.relative_to(project).as_posix() for path in found if path.is_file()}
    return {name: files.sha256(path) for path, name in names.items() if not name.startswith(OF_THE_USER)}


def test_with_dvcs_lock_in_git_nothing_is_left_to_do_elsewhere(pushed, tmp_path):
    elsewhere = pushed.clone(tmp_path / "elsewhere")
    shell("dvc", "pull", cwd=elsewhere)
    assert outputs(elsewhere) == outputs(pushed.project)
    said = shell("dvc", "repro", cwd=elsewhere, GLASSBOX_TRACKING="off").stdout
    for name in NAMES:
        assert f"Stage '{name}' didn't change, skipping" in said
    assert "Data and pipelines are up to date." in said


def test_without_dvcs_lock_only_the_report_is_written_anew(pushed, tmp_path):
    elsewhere = pushed.clone(tmp_path / "elsewhere")
    for path in (elsewhere / "dvc.lock", elsewhere / "reports/summary.json"):  # of a user who does not commit them
        path.unlink()
    said = shell("dvc", "repro", "--pull", cwd=elsewhere, GLASSBOX_TRACKING="off").stdout
    assert ran(said) == ["report"]
    for name in NAMES[:-1]:
        assert f"Stage '{name}' is cached - skipping run, checking out outputs" in said
    assert outputs(elsewhere) == outputs(pushed.project)


def test_the_key_is_in_no_file_that_git_keeps_and_not_in_the_remote(pushed):
    secret = pushed.server.key.read_text().splitlines()[1]
    kept = shell("git", "grep", "-l", "-F", "-e", secret, "-e", str(pushed.server.key), cwd=pushed.project, check=False)
    assert (kept.returncode, kept.stdout) == (1, "")
    assert "ssh://" in shell("git", "grep", "-h", "url", ".dvc/config", cwd=pushed.project).stdout
    there = [path for path in pushed.remote.rglob("*") if path.is_file()]
    assert len(there) > 50
    assert [path for path in there if secret.encode() in path.read_bytes()] == []


def in_sync(project: Path, **changes: str) -> subprocess.CompletedProcess:
    return shell("dvc", "status", "--cloud", cwd=project, check=False, **changes)


def test_a_stranger_is_refused(pushed, tmp_path):
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    elsewhere = pushed.clone(tmp_path / "elsewhere")
    shell("dvc", "remote", "modify", "--local", "cluster", "keyfile", str(key), cwd=elsewhere)
    refused = in_sync(elsewhere, HOME=str(tmp_path))
    assert refused.returncode != 0
    assert "Permission denied" in refused.stderr


@contextmanager
def tunnel(server: Sshd, known_hosts: Path) -> Iterator[int]:
    """OpenSSH's own connection to the server, which asks for the key that is known of it: a port of this machine."""
    port, log = free_port(), known_hosts.parent / "tunnel.log"
    options = [f"UserKnownHostsFile={known_hosts}", "StrictHostKeyChecking=yes", "ExitOnForwardFailure=yes",
               "IdentitiesOnly=yes", "BatchMode=yes"]  # fmt: skip
    arguments = ["-N", "-i", server.key, "-L", f"127.0.0.1:{port}:127.0.0.1:{server.port}", "-p", str(server.port)]
    with log.open("w") as file:
        ssh = subprocess.Popen(
            ["ssh", "-F", os.devnull, *arguments, *(part for one in options for part in ("-o", one)),
             f"{server.user}@{server.host}"], stderr=file, start_new_session=True,
        )  # fmt: skip
    try:
        wait_until(lambda: listens(port), ssh, log)
        yield port
    finally:
        end(ssh)


def test_who_the_server_is_is_asked_by_openssh_and_not_by_dvc(pushed, tmp_path):
    """What docs/cluster.md tells to do about it hangs on this: DVC's SSH takes any host for the right one."""
    elsewhere = pushed.clone(tmp_path / "elsewhere")
    other = tmp_path / ".ssh" / "known_hosts"
    other.parent.mkdir()
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "other"], check=True)
    other.write_text(f"[{pushed.server.host}]:{pushed.server.port} {(tmp_path / 'other.pub').read_text()}")
    assert in_sync(elsewhere, HOME=str(tmp_path)).returncode == 0

    with pytest.raises(pytest.fail.Exception, match="Host key verification failed"), tunnel(pushed.server, other):
        pass
    with tunnel(pushed.server, pushed.server.known_hosts) as port:
        address = f"ssh://{pushed.server.user}@127.0.0.1:{port}{pushed.remote}"
        shell("dvc", "remote", "modify", "--local", "cluster", "url", address, cwd=elsewhere)
        assert in_sync(elsewhere).returncode == 0
    assert in_sync(elsewhere).returncode != 0  # that was the only way there
