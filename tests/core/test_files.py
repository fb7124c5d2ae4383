import errno
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ROOT, environment

from glassbox.core import files
from glassbox.core.errors import UserError


def test_a_file_is_whole_or_absent(tmp_path):
    target = tmp_path / "new" / "result.json"
    files.write_json(target, {"a": 1})
    with pytest.raises(KeyError), files.replacing(target) as partial:
        partial.write_text("half a res")
        raise KeyError
    assert json.loads(target.read_text()) == {"a": 1}
    assert [path.name for path in target.parent.iterdir()] == ["result.json"]


def test_json_refuses_a_number_that_it_cannot_hold(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(tmp_path / "x.json", {"loss": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_a_table_comes_back_with_its_class_names_as_text(tmp_path):
    table = pd.DataFrame({"true_class": ["1", "NA", "nan"], "n": [1, 2, 3], "value": np.float32([0.1, 0.2, 1 / 3])})
    files.write_csv(tmp_path / "t.csv", table)
    back = files.read_csv(tmp_path / "t.csv")
    assert back["true_class"].tolist() == ["1", "NA", "nan"]
    assert np.array_equal(back["value"].to_numpy(np.float32), table["value"].to_numpy())
    assert b"\r" not in (tmp_path / "t.csv").read_bytes()


@pytest.mark.parametrize("read", [files.read_json, files.read_csv, files.mapped_npz])
def test_a_missing_or_damaged_file_is_named(read, tmp_path):
    with pytest.raises(UserError, match=r"gone is missing: 'dvc repro' makes it"):
        read(tmp_path / "gone")
    (tmp_path / "bad").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"bad cannot be read"):
        read(tmp_path / "bad")


@pytest.mark.parametrize(
    ("name", "named"), [(None, "result.json"), (".result.partial.json", "result.json"), ("another", "another")]
)
def test_an_error_of_the_disk_names_the_file_that_was_written(name, named, tmp_path):
    with pytest.raises(OSError, match=named) as error, files.replacing(tmp_path / "result.json"):
        raise OSError(errno.ENOSPC, "no room", None if name is None else str(tmp_path / name))
    assert error.value.filename == str(tmp_path / named)


def test_a_changed_byte_of_a_checked_file_is_noticed(tmp_path):
    path, value = tmp_path / "best.json", {"trial": 3, "value": 0.1 + 0.2, "params": {"b": None, "a": [1, "é"]}}
    files.write_json(path, value, checked=True)
    whole = path.read_bytes()
    assert files.read_json(path) == value
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        try:
            read = files.read_json(path)
        except UserError:
            continue
        assert {key: read[key] for key in value} == value  # white space, or the checksum's key
    path.write_bytes(whole.replace(b'"trial": 3', b'"trial": 2'))
    with pytest.raises(UserError, match=r"best.json is not what was written \(its checksum is wrong\): run its study"):
        files.read_json(path)


def test_arrays_come_back_by_name_and_are_read_where_they_lie(tmp_path):
    path, maps = tmp_path / "a.npz", np.arange(24, dtype=np.float32).reshape(4, 2, 3)
    arrays = {"maps": maps, "turned": np.asfortranarray(maps[0]), "none": np.zeros((0, 3)), "one": np.array(7)}
    files.write_npz(path, arrays)
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]
    with np.load(path, allow_pickle=False) as loaded:
        assert np.array_equal(loaded["maps"], maps)
    mapped = files.mapped_npz(path)
    assert list(mapped) == list(arrays)
    for name, values in arrays.items():
        assert (mapped[name].dtype, mapped[name].shape) == (values.dtype, values.shape)
        assert np.array_equal(mapped[name], values)
    assert isinstance(mapped["maps"], np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        mapped["maps"][0] = 1


def test_damaged_arrays_are_named(tmp_path):
    path = tmp_path / "a.npz"
    files.write_npz(path, {"maps": np.zeros(1000)})
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(UserError, match=r"a\.npz cannot be read"):
        files.mapped_npz(path)
    np.savez_compressed(path, maps=np.zeros(1000))
    with pytest.raises(UserError, match=r"maps\.npy is compressed"):
        files.mapped_npz(path)


def test_a_fresh_folder_is_empty(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old.png").touch()
    assert list(files.fresh_folder(tmp_path / "out").iterdir()) == []


WORK = """
import sys, time
from glassbox.core import files
with files.exclusive(sys.argv[1], "training"), files.replacing(sys.argv[2]) as partial:
    partial.write_text("half")
    print("ready", flush=True)
    time.sleep(60)
"""


def test_a_lock_names_its_process_and_a_killed_process_leaves_nothing_in_the_way(tmp_path):
    lock, target = tmp_path / "train.lock", tmp_path / "out/x.json"
    assert files.holder(lock) is None
    process = subprocess.Popen(
        [sys.executable, "-c", WORK, lock, target],
        stdout=subprocess.PIPE,
        env=environment(PYTHONPATH=str(ROOT / "src")),
    )
    try:
        assert process.stdout.readline() == b"ready\n"
        assert files.holder(lock) == f"process {process.pid}"
        with (
            pytest.raises(UserError, match=f"process {process.pid} is training in this folder already"),
            files.exclusive(lock, "training"),
        ):
            pass
    finally:
        process.kill()
        process.wait()
    assert [path.name for path in target.parent.iterdir()] == [".x.partial.json"]
    files.write_json(target, {})
    assert [path.name for path in target.parent.iterdir()] == ["x.json"]
    deadline = time.monotonic() + 5
    while files.holder(lock):
        assert time.monotonic() < deadline
    with files.exclusive(lock, "training"):
        pass


def test_an_array_on_disk_is_written_and_leaves_nothing(tmp_path):
    array = files.on_disk(tmp_path, (3, 2), "float32")
    assert (array.dtype, array.shape, array.any()) == (np.float32, (3, 2), False)
    array[1] = 7
    assert array.sum() == 14
    assert list(tmp_path.iterdir()) == []
    maps = Path("/proc/self/maps")
    if maps.exists():
        assert str(tmp_path) in maps.read_text(), "the file does not count as memory of this process"
    assert type(files.on_disk(None, (3,), "float32")) is np.ndarray
    assert files.on_disk(tmp_path, (0, 2), "uint8").shape == (0, 2)


def test_tensors_of_either_library_are_written(tmp_path):
    from safetensors.numpy import load_file

    files.write_tensors(tmp_path / "a.safetensors", {"x": np.arange(3)})
    files.write_tensors(tmp_path / "b.safetensors", {"x": torch.arange(3)})
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    assert load_file(tmp_path / "a.safetensors")["x"].tolist() == [0, 1, 2]


def test_digests_are_sha256_and_separate_parts(tmp_path):
    (tmp_path / "abc").write_text("abc")
    # printf abc | sha256sum
    assert files.sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert files.digest("ab", "c") != files.digest("a", "bc")
    assert files.digest("a") == files.digest(b"a")
