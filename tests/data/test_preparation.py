import os

import numpy as np
import pandas as pd
import pytest
from image_files import pets, section
from PIL import Image

from glassbox.core import files
from glassbox.core.errors import UserError
from glassbox.data import preparation, store
from glassbox.data.base import SPLITS, Asked, Images
from glassbox.data.loading import load_source


@pytest.fixture
def source(monkeypatch):
    """Lets a source yield images of the classes a and b in turn, alike where `values` are, in the `given` splits."""

    def set_source(values: np.ndarray, given: list[str], **parts: object) -> None:
        pixels = np.repeat(values.astype(np.uint8), 12).reshape(-1, 2, 2, 3)
        images = Images(pixels, np.arange(len(values)) % 2, ("a", "b"), np.array(given), **parts)
        monkeypatch.setattr(preparation, "load_source", lambda _: images)

    return set_source


def test_copies_are_reported_and_dropped_only_if_the_parameter_says_so(source, params):
    given = ["train"] * 20 + ["validation"] * 4 + ["test"] * 6 + ["train"] * 5 + ["test"] * 5
    source(np.arange(40) % 30, given)
    kept = preparation.prepare(params.data, seed=0)
    counts = kept.counts["duplicates"]
    assert (counts["groups"], counts["dropped_from_training"], len(kept.images)) == (10, 0, 40)
    assert counts["also_in_another_split"] == {"train": 5, "validation": 0, "test": 5}
    assert counts["repeated_within_split"] == {"train": 5, "validation": 0, "test": 0}
    assert len(kept.duplicates) == 20
    dropped = preparation.prepare(params.data.model_copy(update={"drop_duplicates": True}), seed=0)
    assert dropped.counts["duplicates"]["dropped_from_training"] == 10
    assert int((dropped.images.splits == "test").sum()) == 11
    assert dropped.duplicates["dropped"].sum() == 10


def test_the_card_counts_and_the_index_leads_back_to_the_source(params, tmp_path):
    prepared = preparation.prepare(params.data.model_copy(update={"limit": 200}), seed=3)
    description = store.write(tmp_path, prepared.images, prepared.index, "digits")
    card = preparation.data_card(description, prepared)
    assert card["images_in_source"] == 1797
    assert sum(card["sizes"].values()) == 200
    assert {split: sum(n) for split, n in card["images_per_class"].items()} == card["sizes"]
    assert card["duplicates"]["groups"] == 0
    assert card["groups"] is card["masks"] is None
    assert preparation.told(card) == []
    train = preparation.only(prepared.images, "train")
    assert train.splits.tolist() == ["train"] * card["sizes"]["train"]
    digits = load_source(Asked(params.data, params.study.seed))
    assert np.array_equal(digits.pixels[prepared.index], prepared.images.pixels)


@pytest.fixture
def folder(tmp_path):
    """Six cats and six dogs."""
    return pets(tmp_path / "pets", per_class=6)


def test_the_card_lists_unreadable_images(folder, tmp_path):
    (folder / "cats" / "x\n.png").touch()
    Image.new("CMYK", (9, 9)).save(folder / "dogs" / "y.jpg")
    with pytest.raises(UserError, match=r"x\\n.png is empty"):
        preparation.prepare(section(folder), seed=0)
    prepared = preparation.prepare(section(folder, bad_images="skip"), seed=0)
    card = preparation.data_card(store.write(tmp_path / "out", prepared.images, prepared.index, "mine"), prepared)
    assert card["images_unreadable"] == {
        "count": 2,
        "files": [{"file": "cats/x\n.png", "reason": "is empty"}, {"file": "dogs/y.jpg", "reason": "is a CMYK image"}],
    }
    assert card["images_in_source"] == sum(card["sizes"].values()) == 12


def test_too_few_images_of_a_class_folder_are_refused_before_the_limit(folder):
    for number in range(5):
        (folder / "dogs" / f"{number}.png").unlink()
    with pytest.raises(UserError) as refused:
        preparation.prepare(section(folder, limit=10), seed=0)
    assert str(refused.value).startswith(f"the class folder 'dogs' of {folder} has 1 image: it needs at least 3, one")


NAMES = ["плот 1.png", "猫\n2.png", 'قطة,"3".png', "a\r\n4.png", "🐈 NA.png", "- *.png", os.fsdecode(b" \xff.png")]


def test_files_may_have_any_name_and_it_goes_through_tables(tmp_path):
    folder = pets(tmp_path / "pets", per_class=len(NAMES))
    for number, name in enumerate(NAMES):
        (folder / "cats" / f"{number}.png").rename(folder / "cats" / name)
    (folder / "cats").rename(folder / "котки и кучета")
    prepared = preparation.prepare(section(folder), seed=0)
    store.write(tmp_path / "out", prepared.images, prepared.index, "mine")
    read = [name for split in SPLITS for name in store.read(tmp_path / "out", split).names]
    expected = {name.replace("\r", "\\x0d").replace("\udcff", "\\xff") for name in NAMES}
    assert {name for name in read if not name.startswith("dogs")} == {f"котки и кучета/{name}" for name in expected}
    table = pd.DataFrame({"image": range(len(read)), "file": read, "true_class": "猫"})
    files.write_csv(tmp_path / "t.csv", table)
    assert files.read_csv(tmp_path / "t.csv").to_dict("list") == table.to_dict("list")


def test_a_class_with_nothing_but_copies_cannot_be_dropped(source, params):
    source(np.arange(8) % 4, ["train", "train", "validation", "validation"] + ["test"] * 4)
    with pytest.raises(UserError, match=r"without the copies \(data.drop_duplicates\), the train split has no image"):
        preparation.prepare(params.data.model_copy(update={"drop_duplicates": True}), seed=0)


def test_the_card_counts_masks_that_are_not_empty(source, params, tmp_path):
    masks = np.zeros((40, 2, 2), np.uint8)
    masks[::4, 0, 0] = 1  # of every second image of class a
    source(np.arange(40), ["train"] * 16 + ["validation"] * 4 + ["test"] * 20, masks=masks)
    prepared = preparation.prepare(params.data, seed=0)
    card = preparation.data_card(store.write(tmp_path, prepared.images, prepared.index, "mine"), prepared)
    assert card["masks"] == {"test_images": 5, "by_class": [5, 0]}
    assert preparation.told(card) == [
        "masks: 5 of 20 test images have one that is not empty: of every 100 images drawn for score at most about 25 "
        "can count for localization, by class (score.draw) 25"
    ]


def test_the_card_counts_images_without_masks_empty_and_vanished_ones(source, params, tmp_path):
    masks, states = np.zeros((40, 2, 2), np.uint8), np.array(["marked"] * 40, "<U8")
    masks[:, 0, 0] = 1
    for state, rows in (("no mask", [0, 1, 3]), ("empty", [20]), ("vanished", [21, 22, 23, 24, 25, 26])):
        states[rows], masks[rows] = state, 0
    names = tuple(f"{number}.png" for number in range(40))
    splits = ["train"] * 16 + ["validation"] * 4 + ["test"] * 20
    source(np.arange(40), splits, masks=masks, mask_states=states, names=names, unused_masks=("x.png",))
    prepared = preparation.prepare(params.data, seed=0)
    card = preparation.data_card(store.write(tmp_path, prepared.images, prepared.index, "mine"), prepared)
    a, b = (np.arange(40) % 2 == label for label in (0, 1))
    assert card["masks"] == {
        "test_images": 13,
        "by_class": [int((masks[20:].any(axis=(1, 2)) & of[20:]).sum()) for of in (a, b)],
        "no_mask": {"count": 3, "by_class": [1, 2], "first": ["0.png", "1.png", "3.png"]},
        "empty": {"count": 1, "by_class": [1, 0], "first": ["20.png"]},
        "vanished": {"count": 6, "by_class": [3, 3], "first": [f"{number}.png" for number in range(21, 27)]},
        "unused": {"count": 1, "first": ["x.png"]},
    }
    assert preparation.told(card)[1:] == [
        "masks: 3 images have no mask (1 of a and 2 of b)",
        "masks: 1 image has an empty mask (1 of a)",
        "masks: 6 images have a mask whose marked pixels are all cut off (3 of a and 3 of b): "
        "21.png, 22.png, 23.png, 24.png, 25.png …",
        "masks: 1 belongs to no image: x.png",
    ]
    table = preparation.mask_table(prepared.images)
    assert table.columns.tolist() == ["file", "split", "class", "mask"]
    assert table.iloc[0].tolist() == ["0.png", "train", "a", "no mask"]
    assert table["mask"].value_counts().to_dict() == {"vanished": 6, "no mask": 3, "empty": 1}
