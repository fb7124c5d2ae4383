"""Files that are either whole or absent, and locks that end with their process."""

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
os.umask(UMASK := os.umask(0))  # the user's; it cannot be read without being set


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, which replaces `path` in one step if the block ends well. One writer at a
    time: the name is always the same, so that the leftover of a killed process is overwritten."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays last: numpy adds its own to other names.
    partial = path.with_name(f".{path.stem}.partial{path.suffix}")
    try:
        yield partial
        partial.replace(path)
    except OSError as error:
        if error.filename in (None, str(partial)):  # none where a disk is full
            error.filename = str(path)
        raise
    finally:
        partial.unlink(missing_ok=True)


def write_bytes(path: str | Path, content: bytes) -> None:
    with replacing(path) as partial:
        partial.write_bytes(content)


def write_text(path: str | Path, text: str) -> None:
    write_bytes(path, text.encode("utf-8"))


def write_json(path: str | Path, value: Any, checked: bool = False) -> None:
    """Write JSON.

    Args:
        path: the file.
        value: what JSON can hold; a mapping with text keys if `checked`.
        checked: add a digest, by which `read_json` recognises damage.
    """
    content = value | {CHECKSUM: checksum(value)} if checked else value
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def checksum(value: Any) -> str:
    """Digest of what JSON can hold, independent of the order of keys."""
    return digest(json.dumps(value, sort_keys=True))


def write_times(folder: str | Path, value: Any) -> None:
    """Write times and memory, which differ between runs, to timing.yaml in `folder`, as JSON, which is YAML. Files
    named .json and .csv have the same bytes in every run."""
    write_json(Path(folder) / TIMES, value, checked=True)


def write_csv(path: str | Path, table: "Any") -> None:
    """Write a pandas DataFrame without its index. Floats have 9 significant digits: enough to distinguish any two
    float32, and few enough to hide the last bits of a float64 sum."""
    with replacing(path) as partial:
        table.to_csv(partial, index=False, float_format="%.9g", lineterminator="\n")


def write_npz(path: str | Path, arrays: "dict[str, Any]") -> None:
    """Write numpy arrays by name."""
    import numpy as np

    with replacing(path) as partial:
        np.savez(partial, **arrays)


def mapped_npz(path: str | Path) -> "dict[str, Any]":
    """Arrays of `write_npz`, memory-mapped: only what is accessed is read.

    Raises:
        UserError: the file is missing or damaged.
    """
    import numpy as np
    from numpy.lib import format

    arrays = {}
    with readable(path), zipfile.ZipFile(path) as archive, Path(path).open("rb") as file:
        for entry in archive.infolist():
            if entry.compress_type != zipfile.ZIP_STORED:
                raise ValueError(f"{entry.filename} is compressed")
            file.seek(entry.header_offset + 26)  # where the entry has the lengths of its name and its extra field
            file.seek(sum(struct.unpack("<HH", file.read(4))), os.SEEK_CUR)
            format.read_magic(file)
            shape, fortran, dtype = format.read_array_header_1_0(file)
            mapping = (file, dtype, "r", file.tell(), shape, "F" if fortran else "C")
            name = entry.filename.removesuffix(".npy")
            arrays[name] = np.memmap(*mapping) if all(shape) else np.empty(shape, dtype)  # which cannot be mapped
    return arrays


def write_tensors(path: str | Path, tensors: "dict[str, Any]") -> None:
    """Write numpy arrays or PyTorch tensors, by name, as safetensors."""
    from safetensors import SafetensorError

    if all(type(value).__module__ == "numpy" for value in tensors.values()):
        from safetensors.numpy import save_file
    else:
        from safetensors.torch import save_file
    with replacing(path) as partial:
        try:
            save_file(tensors, partial)
        except SafetensorError as error:  # it has the system's error number only in its text
            number = re.search(r"os error (\d+)", str(error))
            if number is None:
                raise
            raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from None
        partial.chmod(0o666 & ~UMASK)  # safetensors makes it readable for its owner alone


def on_disk(folder: str | Path | None, shape: tuple[int, ...], dtype: str) -> "Any":
    """A numpy array of zeros in an unnamed file in `folder`, for more values than memory should hold. The file ends
    with the array or the process. Without a folder the array is in memory."""
    import numpy as np

    if folder is None or 0 in shape:  # an empty file cannot be mapped
        return np.zeros(shape, dtype)
    with tempfile.TemporaryFile(dir=folder) as file:
        if hasattr(os, "posix_fallocate"):  # writing to a mapped page on a full disk would kill the process
            os.posix_fallocate(file.fileno(), 0, math.prod(shape) * np.dtype(dtype).itemsize)
        return np.memmap(file, dtype, "w+", shape=shape)


def fresh_folder(path: str | Path) -> Path:
    """An empty folder for a stage's files, without those of an earlier run."""
    path = Path(path)
    if path.exists():
        shutil.rmtree(path)
    path.mkdir(parents=True)
    return path


def read_csv(path: str | Path) -> "Any":
    """A table that an earlier stage wrote, as a pandas DataFrame. Columns whose name ends in "class" stay text, even if
    their values look like numbers or missing values.

    Raises:
        UserError: the file is missing or damaged.
    """
    import pandas as pd

    with readable(path):
        columns = pd.read_csv(path, nrows=0).columns
        text = {name: str for name in columns if name.endswith("class")}
        empty = {name: [""] for name in columns if name not in text}
        return pd.read_csv(path, dtype=text, keep_default_na=False, na_values=empty)


def read_json(path: str | Path) -> Any:
    """The content of a JSON file that an earlier stage wrote, without the digest of a `checked` one.

    Raises:
        UserError: the file is missing or damaged.
    """
    with readable(path):
        value = json.loads(Path(path).read_text(encoding="utf-8"))
        if isinstance(value, dict) and CHECKSUM in value and value.pop(CHECKSUM) != checksum(value):
            raise UserError(damaged(path, f"its {CHECKSUM} is wrong"))
        return value


@contextmanager
def readable(path: str | Path) -> Iterator[None]:
    """Turn errors of reading a stage's file in the block into a UserError."""
    try:
        yield
    except FileNotFoundError:
        raise UserError(f"{path} is missing: 'dvc repro' makes it") from None
    except (OSError, ValueError, RecursionError, struct.error, zipfile.BadZipFile) as error:
        raise UserError(f"{path} cannot be read ({error}): delete it, then 'dvc repro' makes it anew") from None


def damaged(path: str | Path, why: str) -> str:
    """The sentence for a file that differs from what a stage wrote."""
    problem = f"{path} is not what was written ({why})"
    if Path(path).is_absolute():  # fetched from elsewhere
        return f"{problem}: run its study again"
    return (
        f"{problem}: run 'chmod -R u+w \"$(dvc cache dir)\"', so that DVC looks for damage "
        f"in its cache, too, then 'rm {path}' and 'dvc repro', which makes the file again"
    )


def inside(*paths: str | Path) -> Iterator[Path]:
    """The files among paths, and all files in the folders among them, sorted for each folder."""
    for path in map(Path, paths):
        yield from (file for file in (sorted(path.rglob("*")) if path.is_dir() else [path]) if file.is_file())


def sha256(path: str | Path) -> str:
    """SHA-256 of a file's content, as 64 hex digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(*parts: bytes | str) -> str:
    """SHA-256 of parts, each with its length, as 64 hex digits."""
    state = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        state.update(len(data).to_bytes(8, "big"))
        state.update(data)
    return state.hexdigest()


def holder(path: str | Path) -> str | None:
    """The process that holds the lock file `path` of `exclusive`, in words; None if there is none."""
    try:
        with filelock.FileLock(path, timeout=0):
            return None
    except filelock.Timeout:
        owner = Path(path).with_suffix(".owner")
        return owner.read_text().strip() if owner.exists() else "another process"


@contextmanager
def exclusive(path: str | Path, doing: str) -> Iterator[None]:
    """Hold the lock file `path` while the block runs. The operating system releases it when the process dies.

    Raises:
        UserError: another process holds it. Killing dvc leaves its stage running, and two would write the same files.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    owner = path.with_suffix(".owner")
    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        process = holder(path) or "another process"  # it may end in between
        raise UserError(f"{process} is {doing} in this folder already: wait for it, or stop it first") from None
    try:
        owner.write_text(f"process {os.getpid()}")
        yield
    finally:
        owner.unlink(missing_ok=True)
        lock.release()
