import errno
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from glassbox.core import files
from glassbox.core.errors import UserError


def test_a_file_is_whole_or_not_there(tmp_path):
    target = tmp_path / "new" / "result.json"
    files.write_json(target, {"a": 1})

    class Stop(Exception):
        pass

    with pytest.raises(Stop), files.replacing(target) as partial:
        partial.write_text("half a res")
        raise Stop
    assert json.loads(target.read_text()) == {"a": 1}
    assert [path.name for path in target.parent.iterdir()] == ["result.json"]


def test_json_refuses_what_json_cannot_say(tmp_path):
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


@pytest.mark.parametrize("read", [files.read_json, files.read_csv])
def test_a_missing_or_damaged_file_is_named(read, tmp_path):
    with pytest.raises(UserError, match=r"gone is missing: 'dvc repro' makes it"):
        read(tmp_path / "gone")
    (tmp_path / "bad").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"bad cannot be read"):
        read(tmp_path / "bad")


def test_an_error_of_the_disk_names_the_file_that_was_written(tmp_path):
    def fails(error: OSError):
        with (
            pytest.raises(OSError, match=r"result\.json") as said,
            files.replacing(tmp_path / "result.json") as partial,
        ):
            if error.filename == "partial":
                error.filename = str(partial)
            raise error
        return said.value.filename

    assert fails(OSError(errno.ENOSPC, "no room")) == str(tmp_path / "result.json")
    assert fails(PermissionError(errno.EACCES, "may not", "partial")) == str(tmp_path / "result.json")
    with pytest.raises(OSError, match="another") as said, files.replacing(tmp_path / "result.json"):
        raise OSError(errno.EACCES, "may not", "another")
    assert said.value.filename == "another"


def test_a_checked_file_is_known_when_one_byte_of_it_is_another(tmp_path):
    path, value = tmp_path / "best.json", {"trial": 3, "value": 0.1 + 0.2, "params": {"b": None, "a": [1, "é"]}}
    files.write_json(path, value, checked=True)
    whole = path.read_bytes()
    assert files.read_json(path) == value
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        try:
            found = files.read_json(path)
        except UserError:
            continue
        assert {key: found[key] for key in value} == value  # white space, or the name of the checksum
    path.write_bytes(whole.replace(b'"trial": 3', b'"trial": 2'))
    with pytest.raises(
        UserError, match=r"best.json is not what was written \(the checksum in it is another\): run the st"
    ):
        files.read_json(path)


def test_digest_tells_parts_apart():
    assert files.digest("ab", "c") != files.digest("a", "bc")
    assert files.digest("a") == files.digest(b"a")


def test_arrays_come_back_by_name(tmp_path):
    files.write_npz(tmp_path / "a.npz", {"maps": np.arange(3), "panels": np.eye(2)})
    with np.load(tmp_path / "a.npz", allow_pickle=False) as read:
        assert read["maps"].tolist() == [0, 1, 2]
        assert read["panels"].shape == (2, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


def test_arrays_are_read_where_they_lie(tmp_path):
    path, maps = tmp_path / "a.npz", np.arange(24, dtype=np.float32).reshape(4, 2, 3)
    wanted = {"maps": maps, "images": np.arange(5, dtype=np.uint8), "turned": np.asfortranarray(maps[0]),
              "none": np.zeros((0, 3)), "one": np.array(7)}  # fmt: skip
    files.write_npz(path, wanted)
    found = files.mapped_npz(path)
    assert list(found) == list(wanted)
    for name, values in wanted.items():
        assert (found[name].dtype, found[name].shape) == (values.dtype, values.shape)
        assert np.array_equal(found[name], values)
    assert isinstance(found["maps"], np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        found["maps"][0] = 1


def test_damaged_arrays_are_named(tmp_path):
    path = tmp_path / "a.npz"
    with pytest.raises(UserError, match=r"a\.npz cannot be read \(.*No such file.*\): run the study again"):
        files.mapped_npz(path)
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


HOLD = """
import sys, time
from glassbox.core import files
with files.exclusive(sys.argv[1], "training"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_process_is_told_who_is_at_work_and_a_killed_one_leaves_nothing(tmp_path):
    lock = tmp_path / "train.lock"
    first = subprocess.Popen([sys.executable, "-c", HOLD, str(lock)], stdout=subprocess.PIPE, text=True)
    try:
        assert first.stdout.readline() == "held\n"
        with (
            pytest.raises(UserError, match=f"process {first.pid} is training in this folder already"),
            files.exclusive(lock, "training"),
        ):
            pass
    finally:
        first.kill()
        first.wait()
    deadline = time.monotonic() + 5
    while True:
        try:
            with files.exclusive(lock, "training"):
                break
        except UserError:
            assert time.monotonic() < deadline


def test_an_array_on_disk_is_written_and_leaves_nothing(tmp_path):
    array = files.on_disk(tmp_path, (3, 2), "float32")
    assert (array.dtype, array.shape, array.any()) == (np.float32, (3, 2), False)
    array[1] = 7
    assert array.sum() == 14
    assert list(tmp_path.iterdir()) == []
    # What is in its file is no memory of this process.
    maps = Path("/proc/self/maps")
    if maps.exists():
        assert str(tmp_path) in maps.read_text()
    assert type(files.on_disk(None, (3,), "float32")) is np.ndarray
    assert files.on_disk(tmp_path, (0, 2), "uint8").shape == (0, 2)


def test_who_holds_a_lock(tmp_path):
    assert files.holder(tmp_path / "x.lock") is None
    ask = "from glassbox.core.files import holder; print(holder(sys.argv[2]))"
    code = f"import sys; sys.path.insert(0, sys.argv[1]); {ask}"
    with files.exclusive(tmp_path / "x.lock", "testing"):
        source = str(Path(__file__).resolve().parents[2] / "src")
        command = [sys.executable, "-c", code, source, str(tmp_path / "x.lock")]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert said == f"process {os.getpid()}\n"
    assert files.holder(tmp_path / "x.lock") is None


def test_what_a_killed_process_left_is_written_over(tmp_path):
    code = (
        "import sys, os; sys.path.insert(0, sys.argv[1]); from glassbox.core import files\n"
        "with files.replacing(sys.argv[2]) as partial:\n"
        "    partial.write_text('half'); os.kill(os.getpid(), 9)"
    )
    source = str(Path(__file__).resolve().parents[2] / "src")
    subprocess.run([sys.executable, "-c", code, source, str(tmp_path / "x.json")], check=False)
    assert [path.name for path in tmp_path.iterdir()] == [".x.partial.json"]
    files.write_json(tmp_path / "x.json", {})
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]


def test_tensors_of_either_library_are_written(tmp_path):
    from safetensors.numpy import load_file

    files.write_tensors(tmp_path / "a.safetensors", {"x": np.arange(3)})
    files.write_tensors(tmp_path / "b.safetensors", {"x": torch.arange(3)})
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    assert load_file(tmp_path / "a.safetensors")["x"].tolist() == [0, 1, 2]
    # printf abc | sha256sum
    (tmp_path / "abc").write_text("abc")
    assert files.sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
