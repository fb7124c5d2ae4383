"""CIFAR-10 (Krizhevsky 2009) in its official binary version; the Python version holds pickles, which are never read."""

import hashlib
import os
import sys
from pathlib import Path

import numpy as np

from glassbox.data.base import Images
from glassbox.errors import UserError

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


def load(folder: str | Path | None) -> Images:
    """50,000 training and 10,000 test images of 32x32 pixels.

    Args:
        folder: with the six official batches, or with a sub-folder cifar-10-batches-bin; None = the folder named by
            the environment variable GLASSBOX_CIFAR10, or else a download kept in the user's cache.

    Raises:
        UserError: a batch is missing or not the official one, or the download fails.
    """
    given = folder or os.environ.get(FOLDER_VARIABLE)
    where = Path(given).expanduser() if given else _download()
    if not where.is_dir():
        name = "data.path" if folder else FOLDER_VARIABLE
        raise UserError(f"{name} = {given!r} is no folder: it must hold CIFAR-10's binary batches, {', '.join(SHA1)}")
    if (where / FOLDER).is_dir():
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
    if hashlib.sha1(content, usedforsecurity=False).hexdigest() != SHA1[path.name]:
        raise UserError(
            f"{path} is not the official CIFAR-10 batch: its SHA-1 is not {SHA1[path.name]} (the binary version is "
            f"needed, from {URL}{ARCHIVE})"
        )
    return decode(content)


def decode(content: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Labels (N,) int64 and pixels (N, 32, 32, 3) uint8 of N records of 3,073 bytes."""
    records = np.frombuffer(content, np.uint8).reshape(-1, RECORD)
    planes = records[:, 1:].reshape(-1, 3, SIZE, SIZE)
    return records[:, 0].astype(np.int64), np.ascontiguousarray(planes.transpose(0, 2, 3, 1))


def _download(url: str = URL, cache: Path | None = None, checksum: str = f"md5:{ARCHIVE_MD5}") -> Path:
    """Fetch and unpack the archive once into the user's cache; the folder with the batches."""
    import pooch

    place = cache or Path(pooch.os_cache("glassbox"))
    fetcher = pooch.create(path=place, base_url=url, registry={ARCHIVE: checksum}, retry_if_failed=3)
    try:
        # pooch checks the archive before it is unpacked, and unpacks it only once.
        fetcher.fetch(ARCHIVE, processor=pooch.Untar(extract_dir="cifar10"), progressbar=sys.stderr.isatty())
    except (OSError, ValueError) as error:  # requests' errors are OSErrors; a wrong checksum is a ValueError
        raise UserError(
            f"CIFAR-10 could not be downloaded from {url}{ARCHIVE} ({' '.join(str(error).split())[:200]}): fetch and "
            f"unpack it by hand, then name its folder in data.path or in {FOLDER_VARIABLE}"
        ) from None
    return place / "cifar10"
