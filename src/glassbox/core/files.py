"""Files that are either whole or not there, and locks that a killed process cannot leave behind."""

import hashlib
import json
import math
import os
import re
import shutil
import struct
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import filelock

from glassbox.core.errors import UserError

TIMES = "timing.yaml"
LONGEST = 255 - len("..partial")  # bytes of a file's name that `replacing` can make
CHECKSUM = "checksum"  # key of a JSON file that holds the digest of the others
os.umask(UMASK := os.umask(0))  # the user's; there is no other way to read it


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; when the block ends well it takes the place of `path` in one step. One
    writer at a time: the name is always the same, so that what a killed process leaves is written over."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays last: numpy adds its own to a name that ends otherwise.
    partial = path.with_name(f".{path.stem}.partial{path.suffix}")
    try:
        with naming(path, partial):
            yield partial
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def naming(path: str | Path, partial: str | Path | None = None) -> Iterator[None]:
    """Let an error of the system name `path`, where it names no file, as when a disk is full, or only `partial`."""
    try:
        yield
    except OSError as error:
        if error.filename in (None, str(partial)):
            error.filename = str(path)
        raise


def write_bytes(path: str | Path, content: bytes) -> None:
    with replacing(path) as partial:
        partial.write_bytes(content)


def write_text(path: str | Path, text: str) -> None:
    write_bytes(path, text.encode("utf-8"))


def write_json(path: str | Path, value: Any, checked: bool = False) -> None:
    """Write JSON.

    Args:
        path: of the file.
        value: what JSON can hold; a mapping by text where it is `checked`.
        checked: whether a digest of it is added, by which `read_json` knows a damaged one.
    """
    made = value | {CHECKSUM: checksum(value)} if checked else value
    write_text(path, json.dumps(made, indent=2, allow_nan=False) + "\n")


def checksum(value: Any) -> str:
    """Digest of what JSON can hold, whatever the order of its keys."""
    return digest(json.dumps(value, sort_keys=True))


def write_times(folder: str | Path, value: Any) -> None:
    """Write what differs from run to run, times and memory, to timing.yaml in `folder`: no .json and no .csv, which are
    the same bytes in every rerun, though what stands in it is JSON, which YAML includes."""
    write_json(Path(folder) / TIMES, value, checked=True)


def write_csv(path: str | Path, table: "Any") -> None:
    """Write a pandas DataFrame without its index; floats with 9 significant digits, which tell any two float32 apart
    and keep the file the same when a sum differs in its last bits."""
    with replacing(path) as partial:
        table.to_csv(partial, index=False, float_format="%.9g", lineterminator="\n")


def write_npz(path: str | Path, arrays: "dict[str, Any]") -> None:
    """Write numpy arrays by name."""
    import numpy as np

    with replacing(path) as partial:
        np.savez(partial, **arrays)


def mapped_npz(path: str | Path) -> "dict[str, Any]":
    """What `write_npz` wrote: arrays that stay on disk, of which the system reads what is looked at.

    Raises:
        UserError: the file is missing or damaged.
    """
    import numpy as np
    from numpy.lib import format

    found = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                if entry.compress_type != zipfile.ZIP_STORED:
                    raise ValueError(f"{entry.filename} is compressed")
                with archive.open(entry) as member:
                    version = format.read_magic(member)
                    read = format.read_array_header_1_0 if version == (1, 0) else format.read_array_header_2_0
                    shape, fortran, dtype = read(member)
                    within = member.tell()
                with Path(path).open("rb") as file:  # an entry's own header may be longer than the archive says
                    file.seek(entry.header_offset + 26)
                    start = entry.header_offset + 30 + sum(struct.unpack("<HH", file.read(4))) + within
                order = "F" if fortran else "C"
                name, empty = entry.filename.removesuffix(".npy"), 0 in shape  # which cannot be mapped
                found[name] = np.empty(shape, dtype) if empty else np.memmap(path, dtype, "r", start, shape, order)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} cannot be read ({error}): run the study again") from None
    return found


def write_tensors(path: str | Path, tensors: "dict[str, Any]") -> None:
    """Write numpy arrays or PyTorch tensors by name as safetensors."""
    from safetensors import SafetensorError

    if all(type(value).__module__ == "numpy" for value in tensors.values()):
        from safetensors.numpy import save_file
    else:
        from safetensors.torch import save_file
    with replacing(path) as partial:
        try:
            save_file(tensors, partial)
        except SafetensorError as error:  # what the system says stands in its text alone
            number = re.search(r"os error (\d+)", str(error))
            if number is None:
                raise
            raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from None
        partial.chmod(0o666 & ~UMASK)  # safetensors lets nobody else read


def on_disk(folder: str | Path | None, shape: tuple[int, ...], dtype: str) -> "Any":
    """A numpy array of zeros for more values than memory should hold: the system keeps them in a file of `folder` that
    has no name, and that is gone with the array, or with the process. Without a folder they are in memory after all."""
    import numpy as np

    if folder is None or 0 in shape:  # a file without bytes cannot be mapped
        return np.zeros(shape, dtype)
    with tempfile.TemporaryFile(dir=folder) as file:
        if hasattr(os, "posix_fallocate"):  # writing to a page for which the disk has no room would end the process
            os.posix_fallocate(file.fileno(), 0, math.prod(shape) * np.dtype(dtype).itemsize)
        return np.memmap(file, dtype, "w+", shape=shape)


def fresh_folder(path: str | Path) -> Path:
    """An empty folder for a stage's files, so that none of an earlier run is taken for one of this."""
    path = Path(path)
    if path.exists():
        shutil.rmtree(path)
    path.mkdir(parents=True)
    return path


def read_csv(path: str | Path) -> "Any":
    """A table that an earlier stage wrote, as a pandas DataFrame; class names that look like numbers or like missing
    values stay text in the columns whose name ends in "class".

    Raises:
        UserError: the file is missing or damaged.
    """
    import pandas as pd

    try:
        columns = pd.read_csv(path, nrows=0).columns
        text = {name: str for name in columns if name.endswith("class")}
        empty = {name: [""] for name in columns if name not in text}
        return pd.read_csv(path, dtype=text, keep_default_na=False, na_values=empty)
    except FileNotFoundError:
        raise UserError(f"{path} is missing: 'dvc repro' makes it") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}): delete it, then 'dvc repro' makes it anew") from None


def read_json(path: str | Path) -> Any:
    """Parse a JSON file that an earlier stage wrote. The digest of a `checked` one is not among what it holds.

    Raises:
        UserError: the file is missing or damaged.
    """
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"))
        if isinstance(value, dict) and CHECKSUM in value:
            written = value.pop(CHECKSUM)
            if written != checksum(value):
                raise UserError(damaged(path, f"the {CHECKSUM} in it is another"))
        return value
    except FileNotFoundError:
        raise UserError(f"{path} is missing: 'dvc repro' makes it") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read ({error}): delete it, then 'dvc repro' makes it anew") from None


def damaged(path: str | Path, why: str) -> str:
    """The sentence for a file that is not what a stage wrote."""
    said = f"{path} is not what was written ({why})"
    if Path(path).is_absolute():  # fetched from elsewhere
        return f"{said}: run the study that it is of again"
    return (
        f"{said}: run 'chmod -R u+w \"$(dvc cache dir)\"', so that DVC looks for damage "
        f"in its cache, too, then 'rm {path}' and 'dvc repro', which makes the file again"
    )


def sha256(path: str | Path) -> str:
    """Of a file's content."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(*parts: bytes | str) -> str:
    """SHA-256 of the parts, each with its length, as 64 hex digits."""
    state = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        state.update(len(data).to_bytes(8, "big"))
        state.update(data)
    return state.hexdigest()


def holder(path: str | Path) -> str | None:
    """Who holds the lock file `path` of `exclusive`, in words; None when nobody does."""
    path = Path(path)
    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        return _owner(path)
    lock.release()
    return None


def _owner(path: Path) -> str:
    noted = path.with_suffix(".owner")
    return noted.read_text().strip() if noted.exists() else "another process"


@contextmanager
def exclusive(path: str | Path, doing: str) -> Iterator[None]:
    """Hold the lock file `path` while the block runs. The operating system drops it when the process dies.

    Raises:
        UserError: another process holds it: killing dvc leaves its stage running, and two would write the same files.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    owner = path.with_suffix(".owner")
    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise UserError(f"{_owner(path)} is {doing} in this folder already: wait for it, or stop it first") from None
    try:
        owner.write_text(f"process {os.getpid()}")
        yield
    finally:
        owner.unlink(missing_ok=True)
        lock.release()
