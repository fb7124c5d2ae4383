import hashlib
import tarfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from glassbox.core.errors import UserError
from glassbox.data.sources import cifar10


def record(label: int, red: int, green: int, blue: int) -> bytes:
    return bytes([label]) + bytes([red]) * 1024 + bytes([green]) * 1024 + bytes([blue]) * 1024


@pytest.fixture
def batches(tmp_path, monkeypatch):
    """Six small batches in the official layout, with their digests instead of the published ones."""
    folder = tmp_path / "batches"
    folder.mkdir()
    sums = {}
    for place, name in enumerate(cifar10.SHA1):
        content = record(place, 10, 20, 30) + record(9, place, 0, 255)
        (folder / name).write_bytes(content)
        sums[name] = hashlib.sha1(content).hexdigest()
    monkeypatch.setattr(cifar10, "SHA1", sums)
    monkeypatch.delenv(cifar10.FOLDER_VARIABLE, raising=False)
    return folder


def test_a_record_is_a_label_and_three_planes_row_by_row():
    planes = np.arange(3072, dtype=np.int64) % 251
    labels, pixels = cifar10.decode(bytes([7]) + planes.astype(np.uint8).tobytes())
    assert labels.tolist() == [7]
    # Row 2, column 5: the red byte is number 2 * 32 + 5, green 1,024 further, blue another 1,024.
    assert pixels[0, 2, 5].tolist() == [69 % 251, (69 + 1024) % 251, (69 + 2048) % 251]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (record(3, 0, 0, 0) + record(10, 0, 0, 0), "b.bin has the label 10 in record 1: labels must be 0 to 9"),
        (record(255, 0, 0, 0), "b.bin has the label 255 in record 0: labels must be 0 to 9"),
        (record(3, 0, 0, 0)[:-1], "b.bin holds 3072 bytes: it must hold whole records of 3073 bytes, one or more"),
        (b"", "b.bin holds 0 bytes: it must hold whole records of 3073 bytes, one or more"),
    ],
)
def test_a_wrong_label_or_length_is_refused(content, sentence):
    with pytest.raises(UserError) as refused:
        cifar10.decode(content, "b.bin")
    assert str(refused.value) == sentence


def test_a_folder_of_batches(batches):
    images = cifar10.load(batches)
    assert len(images) == 12
    assert images.splits.tolist() == ["train"] * 10 + ["test"] * 2
    assert images.labels.tolist() == [0, 9, 1, 9, 2, 9, 3, 9, 4, 9, 5, 9]
    assert images.pixels[0, 0, 0].tolist() == [10, 20, 30]
    assert images.classes[3] == "cat"


def test_the_folder_may_be_the_parent_or_come_from_the_environment(batches, tmp_path, monkeypatch):
    batches.rename(tmp_path / cifar10.FOLDER)
    assert len(cifar10.load(tmp_path)) == 12
    monkeypatch.setenv(cifar10.FOLDER_VARIABLE, str(tmp_path))
    assert len(cifar10.load(None)) == 12


def test_an_unofficial_batch_is_named(batches, monkeypatch):
    (batches / "data_batch_3.bin").write_bytes(record(77, 2, 3, 4))
    with pytest.raises(UserError, match=r"data_batch_3.bin is not the official CIFAR-10 batch"):
        cifar10.load(batches)
    monkeypatch.setitem(cifar10.SHA1, "data_batch_3.bin", hashlib.sha1(record(77, 2, 3, 4)).hexdigest())
    with pytest.raises(UserError, match=r"batches/data_batch_3.bin has the label 77 in record 0: labels must"):
        cifar10.load(batches)
    (batches / "data_batch_3.bin").unlink()
    with pytest.raises(UserError, match=r"data_batch_3.bin cannot be read \(No such file"):
        cifar10.load(batches)
    with pytest.raises(UserError, match=r"data.path = '/no/such' is no folder"):
        cifar10.load("/no/such")


class Handler(SimpleHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.requests += 1
        if self.server.requests == 1:  # the first answer breaks off
            self.wfile.write(b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nsho")
        else:
            super().do_GET()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A server on loopback instead of the official one, and an empty cache of the user."""
    monkeypatch.setattr("pooch.os_cache", lambda _: tmp_path / "cache")
    monkeypatch.setattr("time.sleep", lambda _: None)  # between two attempts
    (tmp_path / "served").mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(tmp_path / "served"))) as http:
        http.requests = 0
        monkeypatch.setattr(cifar10, "URL", f"http://127.0.0.1:{http.server_port}/")
        threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
        yield http
        http.shutdown()


@pytest.fixture
def pack(batches, server, tmp_path, monkeypatch):
    """Writes the archive of the small batches, after other members, in the place of the published one."""

    def write(*others: tarfile.TarInfo) -> Path:
        path = tmp_path / "served" / cifar10.ARCHIVE
        with tarfile.open(path, "w:gz") as archive:
            for member in others:
                archive.addfile(member)
            for file in sorted(batches.iterdir()):
                archive.add(file, f"{cifar10.FOLDER}/{file.name}")
        monkeypatch.setattr(cifar10, "ARCHIVE_MD5", hashlib.md5(path.read_bytes()).hexdigest())
        return path

    return write


def test_the_archive_is_fetched_once_and_nothing_in_it_is_written(pack, batches, server, tmp_path):
    pack(tarfile.TarInfo("../evil.txt"))
    assert np.array_equal(cifar10.load(None).pixels, cifar10.load(batches).pixels)
    assert len(cifar10.load(None)) == 12
    assert server.requests == 2
    assert sorted(path.name for path in (tmp_path / "cache").rglob("*")) == [".lock", cifar10.ARCHIVE]
    assert not list(tmp_path.rglob("evil*"))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_a_link_instead_of_a_batch_is_refused(kind, pack, batches, tmp_path):
    secret = (batches / "test_batch.bin").rename(tmp_path / "secret")
    link = tarfile.TarInfo(f"{cifar10.FOLDER}/test_batch.bin")
    link.type, link.linkname = kind, str(secret)
    pack(link)
    with pytest.raises(UserError, match=r"^test_batch.bin is not the official CIFAR-10 batch"):
        cifar10.load(None)


def test_a_damaged_archive_in_the_cache_is_fetched_again(pack, tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / cifar10.ARCHIVE).write_bytes(pack().read_bytes()[:100])
    assert len(cifar10.load(None)) == 12


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("{url}", "its checksum is not the published one, so it was deleted"),
        ("http://127.0.0.1:9/", "Connection refused"),
        ("{url}nowhere/", "404 Client Error: File not found for url: {url}nowhere/cifar-10-binary.tar.gz"),
    ],
)
def test_a_failed_download_leaves_nothing_and_is_explained(url, why, pack, tmp_path, monkeypatch):
    pack()
    url, why = url.format(url=cifar10.URL), why.format(url=cifar10.URL)
    monkeypatch.setattr(cifar10, "URL", url)
    monkeypatch.setattr(cifar10, "ARCHIVE_MD5", "0" * 32)
    with pytest.raises(UserError) as refused:
        cifar10.load(None)
    assert str(refused.value) == (
        f"CIFAR-10 could not be downloaded from {url}cifar-10-binary.tar.gz to {tmp_path}/cache ({why}): try again, or "
        "fetch and unpack it by hand and name its folder in data.path or in GLASSBOX_CIFAR10"
    )
    assert [path.name for path in (tmp_path / "cache").rglob("*")] == [".lock"]
