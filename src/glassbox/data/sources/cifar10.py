"""CIFAR-10 (Krizhevsky 2009) in its official binary version; the Python version holds pickles, which can run code."""

import hashlib
import os
import sys
import tarfile
import zlib
from pathlib import Path

import filelock
import numpy as np

from glassbox.core.errors import UserError
from glassbox.data import user_paths
from glassbox.data.base import Asked, Images

URL = "https://www.cs.toronto.edu/~kriz/"
ARCHIVE = "cifar-10-binary.tar.gz"
ARCHIVE_MD5 = "c32a1d4ab5d03f1284b67883e8d87530"  # as published on the data set's page
FOLDER = "cifar-10-batches-bin"
FOLDER_VARIABLE = "GLASSBOX_CIFAR10"
SHA1 = {
    "data_batch_1.bin": "aadd24acce27caa71bf4b10992e9e7b2d74c2540",
    "data_batch_2.bin": "c0ba65cce70568cd57b4e03e9ac8d2a5367c1795",
    "data_batch_3.bin": "1dd00a74ab1d17a6e7d73e185b69dbf31242f295",
    "data_batch_4.bin": "aab85764eb3584312d3c7f65fd2fd016e36a258e",
    "data_batch_5.bin": "26e2849e66a845b7f1e4614ae70f4889ae604628",
    "test_batch.bin": "67eb016db431130d61cd03c7ad570b013799c88c",
}
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SIZE = 32  # pixels a side
RECORD = 1 + 3 * SIZE * SIZE  # a label byte, then the red, green and blue planes, row by row


def source(asked: Asked) -> Images:
    """See `loading.load_source`."""
    return load(asked.data.path)


def load(folder: str | Path | None) -> Images:
    """50,000 training and 10,000 test images of 32x32 pixels, from the folder of the six official batches, or of a
    sub-folder cifar-10-batches-bin. None is the folder in the environment variable GLASSBOX_CIFAR10, or else a download
    kept in the user's cache.

    Raises:
        UserError: a batch is missing or not the official one, or the download fails.
    """
    path = folder or os.environ.get(FOLDER_VARIABLE)
    contents = _in_folder(path, "data.path" if folder else FOLDER_VARIABLE) if path else _downloaded()
    for name, content in contents.items():
        if hashlib.sha1(content, usedforsecurity=False).hexdigest() != SHA1[Path(name).name]:
            raise UserError(
                f"{name} is not the official CIFAR-10 batch: its SHA-1 is not {SHA1[Path(name).name]} (the binary "
                f"version is needed, from {URL}{ARCHIVE})"
            )
    batches = [decode(content, name) for name, content in contents.items()]
    labels = np.concatenate([labels for labels, _ in batches])
    splits = np.repeat(["train"] * 5 + ["test"], [len(labels) for labels, _ in batches])
    return Images(np.concatenate([pixels for _, pixels in batches]), labels, CLASSES, splits)


def _in_folder(path: str | Path, parameter: str) -> dict[str, bytes]:
    """The batches in a folder that the user named in `parameter`, by file."""
    folder = user_paths.folder(parameter, path, f"CIFAR-10's binary batches, {', '.join(SHA1)}")
    if user_paths.is_folder(folder / FOLDER):
        folder /= FOLDER
    try:
        return {str(folder / name): (folder / name).read_bytes() for name in SHA1}
    except OSError as error:
        raise UserError(
            f"{error.filename} cannot be read ({error.strerror}): it must be an official CIFAR-10 batch"
        ) from None


def decode(content: bytes, name: str = "a CIFAR-10 batch") -> tuple[np.ndarray, np.ndarray]:
    """Labels (N,) int64 and pixels (N, 32, 32, 3) uint8 of N records of 3,073 bytes, from a file called `name`.

    Raises:
        UserError: the records are not whole, or a label is not 0 to 9.
    """
    if not content or len(content) % RECORD:
        raise UserError(f"{name} holds {len(content)} bytes: it must hold whole records of {RECORD} bytes, one or more")
    records = np.frombuffer(content, np.uint8).reshape(-1, RECORD)
    wrong = np.flatnonzero(records[:, 0] >= len(CLASSES))
    if len(wrong):
        raise UserError(
            f"{name} has the label {records[wrong[0], 0]} in record {wrong[0]}: labels must be 0 to {len(CLASSES) - 1}"
        )
    planes = records[:, 1:].reshape(-1, 3, SIZE, SIZE)
    return records[:, 0].astype(np.int64), np.ascontiguousarray(planes.transpose(0, 2, 3, 1))


def _downloaded() -> dict[str, bytes]:
    """The batches in the archive, by name. The archive is fetched if it is not in the user's cache, or damaged there.
    It is read, and nothing in it is written to the disk."""
    import pooch

    cache = Path(pooch.os_cache("glassbox"))
    fetcher = pooch.create(path=cache, base_url=URL, registry={ARCHIVE: f"md5:{ARCHIVE_MD5}"}, retry_if_failed=3)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(cache / ".lock"):  # a second study waits for the first one's download
            archive = fetcher.fetch(ARCHIVE, progressbar=sys.stderr.isatty())
        with tarfile.open(archive) as opened:
            contents = {member.name: opened.extractfile(member).read() for member in opened if member.isreg()}
    except (OSError, ValueError, EOFError, tarfile.TarError, zlib.error) as error:  # requests' errors are OSErrors
        raise UserError(
            f"CIFAR-10 could not be downloaded from {URL}{ARCHIVE} to {cache} ({_why(error)}): try again, or fetch and "
            f"unpack it by hand and name its folder in data.path or in {FOLDER_VARIABLE}"
        ) from None
    return {name: contents.get(f"{FOLDER}/{name}", b"") for name in SHA1}


def _why(error: BaseException) -> str:
    """The innermost cause of an error of pooch or requests, in a few words."""
    if isinstance(error, ValueError) and not isinstance(error, OSError):  # raised by pooch only
        return "its checksum is not the published one, so it was deleted"
    while inner := error.__cause__ or error.__context__:  # requests wraps urllib3's error, which wraps the system's
        error = inner
    return getattr(error, "strerror", None) or " ".join(str(error).split()).rstrip(".") or type(error).__name__
