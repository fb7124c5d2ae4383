from dataclasses import replace

import numpy as np
import pytest
import torch

from glassbox.core.errors import UserError
from glassbox.data import store
from glassbox.data.base import SPLITS, Images


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    return Images(
        pixels=rng.integers(0, 256, (6, 4, 4, 3), dtype=np.uint8),
        labels=np.array([0, 1, 0, 1, 0, 1]),
        classes=("a", "b"),
        splits=np.array(["train", "train", "train", "validation", "test", "test"]),
        masks=rng.integers(0, 2, (6, 4, 4), dtype=np.uint8),
        names=("a/0", "b/ü\n1", "a/2", "b/3", "a/4", "b/5"),
    )


def test_what_is_written_comes_back(images, tmp_path):
    written = store.write(tmp_path, images, np.arange(10, 16), "mine")
    assert store.describe(tmp_path) == written
    assert written.sizes == {"train": 3, "validation": 1, "test": 2}
    assert written.has_masks
    for split in SPLITS:
        rows = np.flatnonzero(images.splits == split)
        part = store.read(tmp_path, split)
        assert len(part) == len(rows)
        assert np.array_equal(part.images.numpy(), images.pixels[rows])
        assert part.labels.tolist() == images.labels[rows].tolist()
        assert part.index.tolist() == (10 + rows).tolist()
        assert np.array_equal(part.masks.numpy(), images.masks[rows])
        assert part.names == tuple(images.names[row] for row in rows)
        assert part.changed == part.arms == {}
        pixels = store.images(tmp_path, split)
        assert np.array_equal(pixels[: len(rows)], images.pixels[rows])
        assert np.array_equal(pixels[len(rows) - 1], images.pixels[rows[-1]])
    moved = part.to(torch.device("meta"))
    assert moved.images.is_meta
    assert moved.labels.is_meta
    files = [path.name for path in tmp_path.iterdir()]
    assert sorted(files) == ["data.json", "test.safetensors", "train.safetensors", "validation.safetensors"]


def test_interventions_are_kept_with_the_test_images_and_arms_with_all(images, tmp_path):
    plain = store.write(tmp_path / "plain", images, np.arange(6), "mine")
    arms = replace(images, changed={"moved": 127 - images.pixels}, arms={"noise": 255 - images.pixels})
    written = store.write(tmp_path, arms, np.arange(6), "mine")
    for split in SPLITS:
        rows = images.splits == split
        part = store.read(tmp_path, split)
        noise = part.arm("noise")
        assert np.array_equal(part.images.numpy(), images.pixels[rows])
        assert np.array_equal(noise.images.numpy(), 255 - images.pixels[rows])
        assert (noise.labels.tolist(), noise.names) == (part.labels.tolist(), part.names)
        assert noise.changed == noise.arms == {}
        assert list(part.changed) == (["moved"] if split == "test" else [])
    assert np.array_equal(part.changed["moved"].numpy(), 127 - images.pixels[4:])
    assert (written.mean, written.sizes) == (plain.mean, plain.sizes)
    arms.arms["noise"][5, 0, 0, 0] ^= 1
    digests = {plain.digest, written.digest, store.write(tmp_path / "other", arms, np.arange(6), "mine").digest}
    assert len(digests) == 3


def test_the_same_data_give_the_same_bytes_and_digest(images, tmp_path):
    first, second = (store.write(tmp_path / name, images, np.arange(6), "mine") for name in ("a", "b"))
    assert first == second
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()
    # Runs in MLflow are identified by the digest: those of older versions must be found again.
    assert first.digest == "140fc049b26873e15c1526201c21a76f71f59c674f20d53e4a8d48ba6d1397a0"
    images.pixels[5, 0, 0, 0] ^= 1
    assert store.write(tmp_path / "c", images, np.arange(6), "mine").digest != first.digest


def test_statistics_by_hand_and_only_of_training_images(images, tmp_path):
    images.pixels[images.splits == "train"] = 255
    assert store.write(tmp_path, images, np.arange(6), "mine").mean == (1.0, 1.0, 1.0)
    pixels = np.zeros((1, 1, 4, 3), np.uint8)
    pixels[0, 0, :, 0] = [0, 0, 255, 255]  # mean 0.5, deviation 0.5
    pixels[0, 0, :, 1] = 51  # 0.2
    mean, std = store.statistics(pixels)
    assert mean == pytest.approx((0.5, 0.2, 0.0))
    assert std == pytest.approx((0.5, 0.0, 0.0), abs=1e-12)


@pytest.mark.parametrize("read", [store.read, store.images])
def test_a_damaged_split_is_refused(read, images, tmp_path):
    store.write(tmp_path, images, np.arange(6), "mine")
    path = tmp_path / "train.safetensors"
    content = path.read_bytes()
    for damaged in (content[:100], content[:-1] + bytes([content[-1] ^ 1])):  # the second is valid safetensors
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"train.safetensors is not what was prepared .its SHA-256 is not that in"):
            read(tmp_path, "train")
    path.unlink()
    with pytest.raises(UserError, match=r"train.safetensors cannot be read"):
        read(tmp_path, "train")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "data.json is missing"),
        ("{", "data.json cannot be read"),
        *((other, "data.json does not describe prepared data") for other in ("[]", '{"source": "mine"}', "null")),
    ],
)
def test_a_damaged_description_is_refused(content, sentence, tmp_path):
    if content is not None:
        (tmp_path / "data.json").write_text(content)
    with pytest.raises(UserError, match=sentence):
        store.describe(tmp_path)
