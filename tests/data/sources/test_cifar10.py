import hashlib
import io
import tarfile
import threading
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


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (record(3, 0, 0, 0) + record(10, 0, 0, 0), "b.bin has the label 10 in record 1: labels must be 0 to 9"),
        (record(255, 0, 0, 0), "b.bin has the label 255 in record 0: labels must be 0 to 9"),
        (record(3, 0, 0, 0)[:-1], "b.bin holds 3072 bytes: it must hold whole records of 3073 bytes, one or more"),
        (b"", "b.bin holds 0 bytes: it must hold whole records of 3073 bytes, one or more"),
    ],
)
def test_what_is_no_batch_is_refused_with_its_label_or_length(content, sentence):
    with pytest.raises(UserError) as refused:
        cifar10.decode(content, "b.bin")
    assert str(refused.value) == sentence


def test_a_label_out_of_range_is_named_with_its_file_though_the_checksum_is_right(batches, monkeypatch):
    content = record(1, 2, 3, 4) + record(77, 2, 3, 4)
    (batches / "test_batch.bin").write_bytes(content)
    monkeypatch.setitem(cifar10.SHA1, "test_batch.bin", hashlib.sha1(content).hexdigest())
    with pytest.raises(UserError, match=r"test_batch.bin has the label 77 in record 1: labels must be 0 to 9$"):
        cifar10.load(batches)


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


def pack(path: Path, batches: Path, *more: tarfile.TarInfo) -> str:
    """Write an archive with the little batches and further members; its checksum."""
    with tarfile.open(path, "w:gz") as archive:
        for member in more:
            content = io.BytesIO(b"evil") if member.isreg() else None
            member.size = 4 if content else 0
            archive.addfile(member, content)
        for file in sorted(batches.iterdir()):
            archive.add(file, f"{cifar10.FOLDER}/{file.name}")
    return f"md5:{hashlib.md5(path.read_bytes()).hexdigest()}"


@pytest.fixture
def server(batches, tmp_path, monkeypatch):
    """The archive, made of the little batches, on a server on loopback."""
    monkeypatch.setattr("time.sleep", lambda _: None)  # between two attempts
    served = tmp_path / "served"
    served.mkdir()
    pack(served / cifar10.ARCHIVE, batches)

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


def test_the_archive_is_fetched_once_checked_and_unpacked(server, tmp_path):
    url, archive, handler = server
    checksum = "md5:" + hashlib.md5(archive.read_bytes()).hexdigest()
    place = cifar10._download(url, tmp_path / "cache", checksum)
    assert len(cifar10.load(place)) == 12
    assert handler.asked == 2
    cifar10._download(url, tmp_path / "cache", checksum)
    assert handler.asked == 2


def test_a_wrong_checksum_leaves_nothing_and_says_what_to_do(server, tmp_path):
    url, cache = server[0], tmp_path / "cache"
    with pytest.raises(UserError) as refused:
        cifar10._download(url, cache, "md5:" + "0" * 32)
    assert str(refused.value) == (
        f"CIFAR-10 could not be downloaded from {url}cifar-10-binary.tar.gz to {cache} (its checksum is not the "
        "published one, so it was deleted): try again, or fetch and unpack it by hand and name its folder in data.path "
        "or in GLASSBOX_CIFAR10"
    )
    assert [path.name for path in cache.rglob("*")] == [".lock"]


def test_an_impossible_download_says_why(server, tmp_path):
    for url, why in (
        ("http://127.0.0.1:9/", "Connection refused"),
        (f"{server[0]}nowhere/", f"404 Client Error: File not found for url: {server[0]}nowhere/{cifar10.ARCHIVE}"),
    ):
        with pytest.raises(UserError) as refused:
            cifar10._download(url, tmp_path / "cache", "md5:" + "0" * 32)
        assert f" ({why}): try again, or fetch and unpack it by hand" in str(refused.value)


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, link
    return made


def test_nothing_but_the_batches_leaves_an_archive(batches, server, tmp_path):
    """Paths that lead out, absolute ones, links and devices."""
    url, archive, _ = server
    outside = tmp_path / "outside"
    outside.mkdir()
    checksum = pack(
        archive, batches, member("../evil.txt"), member(f"{cifar10.FOLDER}/../../../evil.txt"),
        member(str(outside / "evil.txt")), member(f"{cifar10.FOLDER}/way", tarfile.SYMTYPE, str(outside)),
        member(f"{cifar10.FOLDER}/way/evil.txt"), member(f"{cifar10.FOLDER}/hard", tarfile.LNKTYPE, "../../served"),
        member(f"{cifar10.FOLDER}/device", tarfile.CHRTYPE), member(f"{cifar10.FOLDER}/pipe", tarfile.FIFOTYPE),
        member(f"{cifar10.FOLDER}/readme.html"),
    )  # fmt: skip
    place = cifar10._download(url, tmp_path / "a" / "cache", checksum)
    found = sorted(path.relative_to(place).as_posix() for path in place.rglob("*"))
    assert found == [cifar10.FOLDER, *(f"{cifar10.FOLDER}/{name}" for name in sorted(cifar10.SHA1))]
    assert not list(tmp_path.rglob("evil*"))
    assert len(cifar10.load(place)) == 12


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_a_link_in_the_place_of_a_batch_is_refused(kind, batches, server, tmp_path):
    url, archive, _ = server
    (batches / "test_batch.bin").rename(tmp_path / "secret")
    checksum = pack(archive, batches, member(f"{cifar10.FOLDER}/test_batch.bin", kind, str(tmp_path / "secret")))
    with pytest.raises(UserError, match=r"\(the archive holds no official test_batch.bin\): try again"):
        cifar10._download(url, tmp_path / "cache", checksum)
    assert not (tmp_path / "cache" / "cifar10").exists()


def test_what_a_killed_process_left_half_is_unpacked_anew(batches, server, tmp_path):
    url, archive, handler = server
    checksum = f"md5:{hashlib.md5(archive.read_bytes()).hexdigest()}"
    half = tmp_path / "cache" / "cifar10" / cifar10.FOLDER
    half.mkdir(parents=True)
    (half / "data_batch_1.bin").write_bytes((batches / "data_batch_1.bin").read_bytes()[:3000])
    place = cifar10._download(url, tmp_path / "cache", checksum)
    assert len(cifar10.load(place)) == 12
    asked = handler.asked
    (half / "data_batch_2.bin").unlink()
    (half / "test_batch.bin").write_bytes(b"")
    assert len(cifar10.load(cifar10._download(url, tmp_path / "cache", checksum))) == 12
    assert handler.asked == asked  # the archive is still there


def test_a_damaged_archive_in_the_cache_is_fetched_anew(server, tmp_path):
    url, archive, _ = server
    checksum = f"md5:{hashlib.md5(archive.read_bytes()).hexdigest()}"
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / cifar10.ARCHIVE).write_bytes(archive.read_bytes()[:100])
    assert len(cifar10.load(cifar10._download(url, tmp_path / "cache", checksum))) == 12
