import hashlib
import io
import tarfile
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from glassbox.data import cifar10
from glassbox.errors import UserError


def record(label: int, red: int, green: int, blue: int) -> bytes:
    return bytes([label]) + bytes([red]) * 1024 + bytes([green]) * 1024 + bytes([blue]) * 1024


@pytest.fixture
def batches(tmp_path, monkeypatch):
    """Six little batches in the official layout, with their digests in the place of the published ones."""
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


def test_a_folder_of_batches(batches):
    images = cifar10.load(batches)
    assert len(images) == 12
    assert images.splits.tolist() == ["train"] * 10 + ["test"] * 2
    assert images.labels.tolist() == [0, 9, 1, 9, 2, 9, 3, 9, 4, 9, 5, 9]
    assert images.pixels[0, 0, 0].tolist() == [10, 20, 30]
    assert images.classes[3] == "cat"


def test_the_folder_may_be_the_parent_or_come_from_the_environment(batches, tmp_path, monkeypatch):
    parent = tmp_path / "parent"
    parent.mkdir()
    batches.rename(parent / cifar10.FOLDER)
    assert len(cifar10.load(parent)) == 12
    monkeypatch.setenv(cifar10.FOLDER_VARIABLE, str(parent))
    assert len(cifar10.load(None)) == 12


def test_what_is_no_official_batch_is_named(batches):
    (batches / "data_batch_3.bin").write_bytes(record(1, 2, 3, 4))
    with pytest.raises(UserError, match=r"data_batch_3.bin is not the official CIFAR-10 batch"):
        cifar10.load(batches)
    (batches / "data_batch_3.bin").unlink()
    with pytest.raises(UserError, match=r"data_batch_3.bin cannot be read \(No such file"):
        cifar10.load(batches)
    with pytest.raises(UserError, match=r"data.path = '/no/such' is no folder"):
        cifar10.load("/no/such")


@pytest.fixture
def server(batches, tmp_path):
    """The archive, made of the little batches, on a server on loopback."""
    served = tmp_path / "served"
    served.mkdir()
    with tarfile.open(served / cifar10.ARCHIVE, "w:gz") as archive:
        for path in batches.iterdir():
            content = path.read_bytes()
            entry = tarfile.TarInfo(f"{cifar10.FOLDER}/{path.name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))

    class Handler(SimpleHTTPRequestHandler):
        asked = 0

        def __init__(self, *arguments, **options):
            super().__init__(*arguments, directory=str(served), **options)

        def do_GET(self):
            Handler.asked += 1
            if Handler.asked == 1:  # the first answer breaks off: it must be tried again
                self.send_response(200)
                self.send_header("Content-Length", "5")
                self.end_headers()
                self.wfile.write(b"short")
                return
            super().do_GET()

        def log_message(self, *arguments):
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{http.server_port}/", (served / cifar10.ARCHIVE), Handler
    http.shutdown()


def test_the_archive_is_fetched_once_checked_and_unpacked(server, tmp_path, monkeypatch):
    url, archive, handler = server
    checksum = "md5:" + hashlib.md5(archive.read_bytes()).hexdigest()
    monkeypatch.setattr("time.sleep", lambda _: None)
    place = cifar10._download(url, tmp_path / "cache", checksum)
    assert len(cifar10.load(place)) == 12
    assert handler.asked == 2
    cifar10._download(url, tmp_path / "cache", checksum)
    assert handler.asked == 2


def test_a_wrong_or_impossible_download_says_what_to_do(server, tmp_path, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: None)
    with pytest.raises(UserError, match=r"could not be downloaded .* hash .* name its folder in data.path"):
        cifar10._download(server[0], tmp_path / "cache", "md5:" + "0" * 32)
    with pytest.raises(UserError, match=r"could not be downloaded"):
        cifar10._download("http://127.0.0.1:9/", tmp_path / "cache2", "md5:" + "0" * 32)
