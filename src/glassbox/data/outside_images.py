"""Images and masks outside of data/raw/, where DVC does not look for changes: a file there records their state."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from glassbox.config.data import Data
from glassbox.core import files
from glassbox.data import masks, user_paths

RAW = Path("data/raw")  # a dependency of *prepare*
STATE = RAW / "outside.txt"


def places(data: Data) -> dict[str, Path]:
    """By parameter the folders of a study's images and masks, or the file of its masks, that are not in data/raw/, or
    are links out of it."""
    if data.path is None or data.images_from() != "image_folder":
        return {}
    known = {"data.path": user_paths.expanded(data.path), "data.masks": masks.place(data)}
    raw = RAW.resolve()
    return {
        name: path
        for name, path in known.items()
        if path is not None and not Path(os.path.realpath(path)).is_relative_to(raw)
    }


def watch(data: Data) -> None:
    """Write the state of these to `STATE`, or remove that file. To be called before DVC looks for changes."""
    outside = places(data)
    if not outside:
        STATE.unlink(missing_ok=True)
        return
    digests = {user_paths.shown(path): files.digest(*_state(path)) for path in outside.values()}
    lines = {name: f"{digest}  names, sizes and dates of the files in {name}\n" for name, digest in digests.items()}
    before = STATE.read_text(encoding="utf-8") if STATE.exists() else None
    if (state := "".join(lines.values())) == before:
        return
    files.write_text(STATE, state)
    if before is not None:
        changed = " and ".join(name for name, line in lines.items() if line not in before) or "data.masks"
        print(f"{changed} has changed: *prepare* reads the images again")


def note(data: Data) -> str | None:
    """The note for a study with such a folder."""
    outside = places(data)
    if not outside:
        return None
    named = ", ".join(f"{name} = {user_paths.shown(path)}" for name, path in outside.items())
    return (
        f"note: {named} {'is' if len(outside) == 1 else 'are'} not in {RAW}/, so DVC does not look for changes there: "
        "'make study' does, before 'dvc repro' alone run 'python -m glassbox check'"
    )


def _state(path: Path) -> Iterator[bytes]:
    """Name, size and time of change of every file, in a fixed order. Folders that cannot be read are left out here, and
    refused by *prepare*. Of a file, which has no entries, size and time of change."""
    if user_paths.is_file(path):
        status = path.stat()
        yield b"%d %d" % (status.st_size, status.st_mtime_ns)
    for place, subfolders, names in os.walk(path):
        subfolders.sort()
        for name in sorted(names):
            file = os.path.join(place, name)  # noqa: PTH118 (a Path is slow for each of a million files)
            with suppress(FileNotFoundError):  # it has just been removed
                status = os.lstat(file)
                yield os.fsencode(os.path.relpath(file, path))
                yield b"%d %d" % (status.st_size, status.st_mtime_ns)
