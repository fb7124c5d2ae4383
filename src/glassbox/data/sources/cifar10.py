"""CIFAR-10 (Krizhevsky 2009) in its official binary version; the Python version holds pickles, which are never read."""

import hashlib
import os
import sys
import tarfile
import zlib
from pathlib import Path

import filelock
import numpy as np

from glassbox.core import files
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
    size = asked.data.image_size
    if size != SIZE:
        raise UserError(f"data.image_size is {size}: with data.source = cifar10 it must be {SIZE}")
    return load(asked.data.path)


def load(folder: str | Path | None) -> Images:
    """50,000 training and 10,000 test images of 32x32 pixels.

    Args:
        folder: with the six official batches, or with a sub-folder cifar-10-batches-bin; None = the folder named by
            the environment variable GLASSBOX_CIFAR10, or else a download kept in the user's cache.

    Raises:
        UserError: a batch is missing or not the official one, or the download fails.
    """
    given = folder or os.environ.get(FOLDER_VARIABLE)
    name = "data.path" if folder else FOLDER_VARIABLE
    where = user_paths.folder(name, given, f"CIFAR-10's binary batches, {', '.join(SHA1)}") if given else _download()
    if user_paths.is_folder(where / FOLDER):
        where = where / FOLDER
    batches = [_read(where / name) for name in SHA1]
    labels = np.concatenate([labels for labels, _ in batches])
    splits = np.repeat(["train"] * 5 + ["test"], [len(labels) for labels, _ in batches])
    return Images(np.concatenate([pixels for _, pixels in batches]), labels, CLASSES, splits)


def _read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Labels (10000,) int64 and pixels (10000, 32, 32, 3) uint8 of one batch."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): it must be an official CIFAR-10 batch") from None
    if not _is_official(content, path.name):
        raise UserError(
            f"{path} is not the official CIFAR-10 batch: its SHA-1 is not {SHA1[path.name]} (the binary version is "
            f"needed, from {URL}{ARCHIVE})"
        )
    return decode(content, str(path))


def _is_official(content: bytes, name: str) -> bool:
    return hashlib.sha1(content, usedforsecurity=False).hexdigest() == SHA1[name]


def decode(content: bytes, name: str = "a CIFAR-10 batch") -> tuple[np.ndarray, np.ndarray]:
    """Labels (N,) int64 and pixels (N, 32, 32, 3) uint8 of N records of 3,073 bytes.

    Args:
        content: of a batch.
        name: of its file, for the sentence.

    Raises:
        UserError: these are no whole records, or a label is not 0 to 9.
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


def _download(url: str = URL, cache: Path | None = None, checksum: str = f"md5:{ARCHIVE_MD5}") -> Path:
    """The folder with the batches in the user's cache. What is missing there or damaged, by a process that was killed
    for one, is unpacked anew, and the archive fetched where it is not there."""
    import pooch

    place = cache or Path(pooch.os_cache("glassbox"))
    folder = place / "cifar10"
    if all(_is_whole(folder / FOLDER / name) for name in SHA1):
        return folder
    fetcher = pooch.create(path=place, base_url=url, registry={ARCHIVE: checksum}, retry_if_failed=3)
    try:
        place.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(place / ".lock"):  # a second study waits, and finds the archive there
            # pooch gives no archive whose checksum is another one, not even one that has been there.
            archive = fetcher.fetch(ARCHIVE, progressbar=sys.stderr.isatty())
            _unpack(Path(archive), folder / FOLDER)
    except (OSError, ValueError, EOFError, zlib.error, tarfile.TarError) as error:  # requests' errors are OSErrors
        raise UserError(
            f"CIFAR-10 could not be downloaded from {url}{ARCHIVE} to {place} ({_why(error)}): try again, or fetch and "
            f"unpack it by hand and name its folder in data.path or in {FOLDER_VARIABLE}"
        ) from None
    return folder


def _is_whole(path: Path) -> bool:
    try:
        return _is_official(path.read_bytes(), path.name)
    except OSError:
        return False  # to be unpacked, and if that fails, then with a reason


def _unpack(archive: Path, folder: Path) -> None:
    """Write the six batches and nothing else, whatever the archive holds: neither links nor other paths."""
    batches = {}
    with tarfile.open(archive) as opened:
        for member in opened:
            name = member.name.removeprefix(f"{FOLDER}/")
            if member.isreg() and name in SHA1 and member.name == f"{FOLDER}/{name}":
                batches[name] = opened.extractfile(member).read()
    for name in SHA1:
        if not _is_official(batches.get(name, b""), name):
            raise tarfile.TarError(f"the archive holds no official {name}")
    for name, content in batches.items():
        files.write_bytes(folder / name, content)


def _why(error: BaseException) -> str:
    """What lies behind an error of pooch or requests, in a few words."""
    if isinstance(error, ValueError) and not isinstance(error, OSError):  # pooch's own, and its only one
        return "its checksum is not the published one, so it was deleted"
    while inner := error.__cause__ or error.__context__:  # requests tells of urllib3, which tells of the system
        error = inner
    return getattr(error, "strerror", None) or " ".join(str(error).split()).rstrip(".") or type(error).__name__
