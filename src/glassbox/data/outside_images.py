"""Images outside of data/raw/, where DVC does not look for changes: a file in data/raw/ records their state."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from glassbox.config.data import Data
from glassbox.core import files
from glassbox.data import user_paths

RAW = Path("data/raw")  # a dependency of *prepare*
STATE = RAW / "outside.txt"


def folder(data: Data) -> Path | None:
    """The folder of a study's images if it is not in data/raw/, or is a link out of it; else None."""
    if data.path is None or data.images_from() != "image_folder":
        return None
    path = user_paths.expanded(data.path)
    return None if Path(os.path.realpath(path)).is_relative_to(RAW.resolve()) else path


def watch(data: Data) -> None:
    """Write the state of such a folder to `STATE`, or remove that file. To be called before DVC looks for changes."""
    path = folder(data)
    if path is None:
        STATE.unlink(missing_ok=True)
        return
    state = f"{files.digest(*_state(path))}  names, sizes and dates of the files in {user_paths.shown(path)}\n"
    before = STATE.read_text(encoding="utf-8") if STATE.exists() else None
    if state == before:
        return
    files.write_text(STATE, state)
    if before is not None:
        print(f"{user_paths.shown(path)} has changed: *prepare* reads the images again")


def note(data: Data) -> str | None:
    """The note for a study with such a folder."""
    path = folder(data)
    if path is None:
        return None
    return (
        f"note: data.path = {user_paths.shown(path)} is not in {RAW}/, so DVC does not look for changes there: "
        "'make study' does, before 'dvc repro' alone run 'python -m glassbox check'"
    )


def _state(path: Path) -> Iterator[bytes]:
    """Name, size and time of change of every file, in a fixed order. Folders that cannot be read are left out here, and
    refused by *prepare*."""
    for place, subfolders, names in os.walk(path):
        subfolders.sort()
        for name in sorted(names):
            file = os.path.join(place, name)  # noqa: PTH118 (a Path is slow for each of a million files)
            with suppress(FileNotFoundError):  # it has just been removed
                status = os.lstat(file)
                yield os.fsencode(os.path.relpath(file, path))
                yield b"%d %d" % (status.st_size, status.st_mtime_ns)
