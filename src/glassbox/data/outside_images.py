"""Images that do not lie in data/raw/, where DVC looks for changes: their state is put there, so that DVC sees it."""

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
    """The folder of a study's images, where it is not in data/raw/, or leads out of it by a link; else None."""
    if data.path is None or data.images_from() != "image_folder":
        return None
    path = user_paths.expanded(data.path)
    return None if Path(os.path.realpath(path)).is_relative_to(RAW.resolve()) else path


def watch(data: Data) -> None:
    """Write the state of such a folder to data/raw/, and remove one that is there without such a folder. To be called
    before DVC looks what has changed."""
    path = folder(data)
    if path is None:
        STATE.unlink(missing_ok=True)
        return
    state = f"{files.digest(*_state(path))}  names, sizes and dates of the files in {user_paths.shown(path)}\n"
    before = STATE.read_text(encoding="utf-8") if STATE.exists() else None
    if state != before:
        files.write_text(STATE, state)
    if before is not None and state != before:
        print(f"{user_paths.shown(path)} has changed: *prepare* reads the images again")


def note(data: Data) -> str | None:
    """The sentence for a study with such a folder."""
    path = folder(data)
    if path is None:
        return None
    return (
        f"note: data.path = {user_paths.shown(path)} is not in {RAW}/, so DVC does not look for changes there: "
        "'make study' does, before 'dvc repro' alone run 'python -m glassbox check'"
    )


def _state(path: Path) -> Iterator[bytes]:
    """Name, size and time of change of every file, in a fixed order. Of what may not be read there is none: *prepare*
    says so."""
    for place, inner, names in os.walk(path):
        inner.sort()
        for name in sorted(names):
            file = os.path.join(place, name)  # noqa: PTH118 (a Path for each of a million files takes its time)
            with suppress(FileNotFoundError):  # it has just been removed
                about = os.lstat(file)
                yield os.fsencode(os.path.relpath(file, path))
                yield b"%d %d" % (about.st_size, about.st_mtime_ns)
