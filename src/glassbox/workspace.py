"""The folder of a study as git and DVC see it: whether DVC can work there, who is at work, and what a kill left."""

import fcntl
import json
import os
from pathlib import Path

import psutil
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from glassbox.core import files
from glassbox.core.errors import UserError

DVC = Path(".dvc/tmp")


def check_repository() -> None:
    """Check that DVC can work in this folder.

    Raises:
        UserError: it is in no git repository, or its path has braces, which stop DVC's progress bar after a stage, or
            the user's home, where DVC reads settings, is a file.
    """
    here, home = Path.cwd(), Path(os.environ.get("HOME", "/"))
    if home.exists() and not home.is_dir():
        raise UserError(f"HOME is {home}, which is no folder: set it to one, DVC reads its settings there")
    if set("{}") & set(str(here)):
        raise UserError(f"{here} has braces in its path, which DVC takes for placeholders: rename that folder")
    settings = [path.read_text() for path in Path(".dvc").glob("config*") if path.is_file()]
    if any((folder / ".git").exists() for folder in (here, *here.parents)) or "no_scm" in "".join(settings):
        return
    raise UserError(f"{here} is in no git repository, and DVC needs one: run 'git init', then the same command again")


def at_work() -> str | None:
    """The process that runs a study in this folder, in words: a stage, which holds a lock, or DVC, which holds another
    between two stages, and notes its process id while one runs."""
    for lock in sorted(Path("data").glob(".*.lock")):
        if who := files.holder(lock):
            return who
    for path in (DVC / "lock", DVC / "rwlock.lock"):
        if path.exists():
            with path.open("r+") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    return "dvc"
    return next((f"process {pid} (dvc)" for pid in _noted_by_dvc() if psutil.pid_exists(pid)), None)


def _noted_by_dvc() -> set[int]:
    """Ids of processes that read or write something for DVC."""
    try:
        noted = json.loads((DVC / "rwlock").read_text())
    except (FileNotFoundError, ValueError):  # half written: see `mend`
        return set()
    writers = [info["pid"] for info in noted.get("write", {}).values()]
    return {*writers, *(info["pid"] for readers in noted.get("read", {}).values() for info in readers)}


def mend() -> None:
    """Rename the files that DVC was writing when it was killed. DVC writes them in place, and refuses a truncated one;
    without them it finds out by itself what is up to date."""
    if at_work():
        return
    for path, is_whole in ((DVC / "rwlock", _is_whole_rwlock), (Path("dvc.lock"), _is_whole_lock)):
        if path.exists() and not is_whole(path.read_text(encoding="utf-8", errors="replace")):
            path.replace(kept := path.with_name(f"{path.name}.damaged"))
            print(f"{path} was cut off when DVC was stopped: it is now {kept}")


def _is_whole_rwlock(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def _is_whole_lock(text: str) -> bool:
    """Whether this is a whole dvc.lock. Cut off, it may still be YAML: then its last line has no end, or no value."""
    try:
        is_mapping = isinstance(YAML(typ="safe", pure=True).load(text), dict)
    except YAMLError:
        return False
    return is_mapping and text.endswith("\n") and not text.endswith(":\n")
