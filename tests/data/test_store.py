import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from glassbox.core.errors import UserError
from glassbox.data import store
from glassbox.data.base import Images


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    return Images(
        rng.integers(0, 256, (6, 4, 4, 3), dtype=np.uint8), np.array([0, 1, 0, 1, 0, 1]), ("a", "b"),
        splits=np.array(["train", "train", "train", "validation", "test", "test"]),
        masks=rng.integers(0, 2, (6, 4, 4), dtype=np.uint8), names=("a/0", "b/ü\n1", "a/2", "b/3", "a/4", "b/5"),
    )  # fmt: skip


def test_what_is_written_comes_back(images, tmp_path):
    written = store.write(tmp_path, images, np.arange(10, 16), "mine")
    assert store.describe(tmp_path) == written
    train = store.read(tmp_path, "train")
    assert np.array_equal(train.images.numpy(), images.pixels[:3])
    for name in ("train", "validation", "test"):
        assert np.array_equal(store.images(tmp_path, name), store.read(tmp_path, name).images.numpy())
    assert train.labels.tolist() == [0, 1, 0]
    assert train.index.tolist() == [10, 11, 12]
    assert np.array_equal(train.masks.numpy(), images.masks[:3])
    assert train.names == images.names[:3]
    assert len(train) == 3
    assert written.sizes == {"train": 3, "validation": 1, "test": 2}
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "data.json", "test.safetensors", "train.safetensors", "validation.safetensors",
    ]  # fmt: skip


def test_interventions_are_kept_with_the_test_images(images, tmp_path):
    changed = replace(images, changed={"moved": 255 - images.pixels})
    store.write(tmp_path, changed, np.arange(6), "mine")
    assert np.array_equal(store.read(tmp_path, "test").changed["moved"].numpy(), 255 - images.pixels[4:])
    assert store.read(tmp_path, "train").changed == {}


def test_arms_are_kept_with_all_images(images, tmp_path):
    plain = store.write(tmp_path / "plain", images, np.arange(6), "mine")
    arms = replace(images, changed={"moved": images.pixels}, arms={"noise": 255 - images.pixels})
    written = store.write(tmp_path, arms, np.arange(6), "mine")
    for split in ("train", "validation", "test"):
        rows = images.splits == split
        whole = store.read(tmp_path, split)
        noise = whole.arm("noise")
        assert np.array_equal(whole.images.numpy(), images.pixels[rows])
        assert np.array_equal(noise.images.numpy(), 255 - images.pixels[rows])
        assert (noise.labels.tolist(), noise.names) == (whole.labels.tolist(), whole.names)
        assert noise.changed == noise.arms == store.read(tmp_path / "plain", split).arms == {}
    assert (written.mean, written.sizes) == (plain.mean, plain.sizes)
    arms.arms["noise"][5, 0, 0, 0] ^= 1
    digests = {plain.digest, written.digest, store.write(tmp_path / "other", arms, np.arange(6), "mine").digest}
    assert len(digests) == 3


def test_the_digest_of_images_alone_stays_what_it_was(images, tmp_path):
    # Runs in MLflow are told apart by it: those of older versions must be found again.
    expected = "140fc049b26873e15c1526201c21a76f71f59c674f20d53e4a8d48ba6d1397a0"
    assert store.write(tmp_path, images, np.arange(6), "mine").digest == expected


def test_the_same_data_give_the_same_bytes_and_digest(images, tmp_path):
    first, second = (store.write(tmp_path / name, images, np.arange(6), "mine") for name in ("one", "two"))
    assert first == second
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()
    images.pixels[5, 0, 0, 0] ^= 1
    assert store.write(tmp_path / "three", images, np.arange(6), "mine").digest != first.digest


def test_statistics_by_hand():
    pixels = np.zeros((1, 1, 4, 3), np.uint8)
    pixels[0, 0, :, 0] = [0, 0, 255, 255]  # mean 0.5, deviation 0.5
    pixels[0, 0, :, 1] = 51  # 0.2
    mean, std = store.statistics(pixels)
    assert mean == pytest.approx((0.5, 0.2, 0.0))
    assert std == pytest.approx((0.5, 0.0, 0.0), abs=1e-12)


def test_only_training_images_count_in_the_statistics(images, tmp_path):
    images.pixels[images.splits == "train"] = 255
    assert store.write(tmp_path, images, np.arange(6), "mine").mean == (1.0, 1.0, 1.0)


def test_damage_is_named(images, tmp_path):
    store.write(tmp_path, images, np.arange(6), "mine")
    whole = (tmp_path / "train.safetensors").read_bytes()
    changed = bytearray(whole)
    changed[-1] ^= 1  # still a file of safetensors
    for damaged in (whole[:100], bytes(changed)):
        (tmp_path / "train.safetensors").write_bytes(damaged)
        with pytest.raises(UserError, match=r"train.safetensors is not what was prepared .its SHA-256 is not that in"):
            store.read(tmp_path, "train")
        with pytest.raises(UserError, match=r"train.safetensors is not what was prepared"):
            store.images(tmp_path, "train")
    (tmp_path / "train.safetensors").unlink()
    for read in (store.read, store.images):
        with pytest.raises(UserError, match=r"train.safetensors cannot be read"):
            read(tmp_path, "train")
    with pytest.raises(UserError, match=r"data.json is missing"):
        store.describe(tmp_path / "none")
    (tmp_path / "data.json").write_text("{")
    with pytest.raises(UserError, match=r"data.json cannot be read"):
        store.describe(tmp_path)
    for other in ("[]", '{"source": "mine"}', "null"):
        (tmp_path / "data.json").write_text(other)
        with pytest.raises(UserError, match=r"data.json does not describe prepared data"):
            store.describe(tmp_path)


def test_a_split_moves_as_a_whole(images, tmp_path):
    store.write(tmp_path, images, np.arange(6), "mine")
    moved = store.read(tmp_path, "test").to(torch.device("cpu"))
    assert moved.images.device.type == moved.labels.device.type == "cpu"
    assert json.loads((tmp_path / "data.json").read_text())["has_masks"] is True
