import os
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from glassbox.core import files
from glassbox.core.errors import UserError
from glassbox.data import preparation, store
from glassbox.data.base import SPLITS, Images


@pytest.fixture
def with_copies(monkeypatch):
    """Forty images of two classes; the last ten are copies of the first ten."""
    pixels = np.zeros((40, 2, 2, 3), np.uint8)
    pixels[:30, 0, 0, 0] = np.arange(30)
    pixels[30:] = pixels[:10]
    given = np.array(["train"] * 20 + ["validation"] * 4 + ["test"] * 6 + ["train"] * 5 + ["test"] * 5)
    made = Images(pixels, np.arange(40) % 2, ("a", "b"), given, skipped=("notes.txt",))
    monkeypatch.setattr(preparation, "load_source", lambda *_: made)


def test_copies_are_reported_and_dropped_only_when_asked(with_copies, params):
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


def test_the_card_counts(params, tmp_path):
    prepared = preparation.prepare(params.data.model_copy(update={"limit": 200}), seed=0)
    description = store.write(tmp_path, prepared.images, prepared.index, "digits")
    card = preparation.data_card(description, prepared)
    assert card["images_in_source"] == 1797
    assert sum(card["sizes"].values()) == 200
    assert {split: sum(n) for split, n in card["images_per_class"].items()} == card["sizes"]
    assert card["duplicates"]["groups"] == 0
    train = preparation.only(prepared.images, "train")
    assert len(train) == card["sizes"]["train"]
    assert set(train.splits) == {"train"}


@pytest.fixture
def pets(tmp_path, params):
    """The section `data` for a folder of twelve images of two classes."""
    for label, name in enumerate(("cats", "dogs")):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for number in range(6):
            Image.new("RGB", (9, 9), (100 * label, number, 0)).save(tmp_path / "pets" / name / f"{number}.png")
    return params.data.model_copy(
        update={"source": "image_folder", "path": str(tmp_path / "pets"), "image_size": 8, "limit": None}
    )


def test_the_card_counts_and_lists_unreadable_images(pets, tmp_path):
    (tmp_path / "pets" / "cats" / "x\n.png").touch()
    Image.new("CMYK", (9, 9)).save(tmp_path / "pets" / "dogs" / "y.jpg")
    with pytest.raises(UserError, match=r"x\\n.png is empty"):
        preparation.prepare(pets, seed=0)
    prepared = preparation.prepare(pets.model_copy(update={"bad_images": "skip"}), seed=0)
    card = preparation.data_card(store.write(tmp_path / "out", prepared.images, prepared.index, "mine"), prepared)
    assert card["images_unreadable"] == {
        "count": 2,
        "files": [{"file": "cats/x\n.png", "reason": "is empty"}, {"file": "dogs/y.jpg", "reason": "is a CMYK image"}],
    }
    assert card["images_in_source"] == sum(card["sizes"].values()) == 12
    converted = pets.model_copy(update={"bad_images": "skip", "convert": ("cmyk",)})
    assert preparation.prepare(converted, seed=0).counts["images_unreadable"]["count"] == 1


def test_too_few_images_of_a_class_folder_are_refused_with_its_name(pets, tmp_path):
    for number in range(5):
        (tmp_path / "pets" / "dogs" / f"{number}.png").unlink()
    for limit in (None, 10):
        with pytest.raises(UserError) as refused:
            preparation.prepare(pets.model_copy(update={"limit": limit}), seed=0)
        assert str(refused.value).startswith(f"the class folder 'dogs' of {tmp_path / 'pets'} has 1 image: it needs at")


def test_names_of_files_in_every_script_go_through_tables(pets, tmp_path):
    folder = tmp_path / "pets" / "cats"
    names = ["плот 1.png", "猫\n2.png", 'قطة,"3".png', "a\r\n4.png", "🐈 NA.png"]
    for number, name in enumerate(names):
        (folder / f"{number}.png").rename(folder / name)
    os.rename(folder / "5.png", os.fsencode(folder) + b"/\xff.png")  # noqa: PTH104
    prepared = preparation.prepare(pets, seed=0)
    store.write(tmp_path / "out", prepared.images, prepared.index, "mine")
    read = [name for split in SPLITS for name in store.read(tmp_path / "out", split).names]
    assert {name for name in read if name.startswith("cats")} == {
        f"cats/{name}".replace("\r", "\\x0d") for name in [*names, "\\xff.png"]
    }
    table = pd.DataFrame({"image": range(len(read)), "file": read, "true_class": "猫"})
    files.write_csv(tmp_path / "t.csv", table)
    assert files.read_csv(tmp_path / "t.csv").to_dict("list") == table.to_dict("list")


def test_the_index_leads_back_to_the_source(params):
    from glassbox.data.loading import load_source

    source = load_source(params.data, params.study.seed)
    prepared = preparation.prepare(params.data.model_copy(update={"limit": 100}), seed=3)
    assert np.array_equal(source.pixels[prepared.index], prepared.images.pixels)


def test_a_class_of_nothing_but_copies_cannot_be_dropped(monkeypatch, params):
    pixels = np.arange(8, dtype=np.uint8).reshape(8, 1, 1, 1).repeat(3, axis=3)
    pixels[4:] = pixels[:4]
    splits = np.array(["train", "train", "validation", "validation"] + ["test"] * 4, dtype="<U10")
    made = Images(pixels, np.arange(8) % 2, ("a", "b"), splits)
    monkeypatch.setattr(preparation, "load_source", lambda *_: made)
    with pytest.raises(UserError, match=r"once data.drop_duplicates has left out the copies, the train split has no"):
        preparation.prepare(params.data.model_copy(update={"drop_duplicates": True}), seed=0)


def test_the_card_counts_masks_that_are_not_empty(monkeypatch, params, tmp_path):
    labels, masks = np.arange(40) % 2, np.zeros((40, 2, 2), np.uint8)
    masks[::4, 0, 0] = 1  # of every second image of class a
    pixels = np.zeros((40, 2, 2, 3), np.uint8)
    pixels[:, 0, 0, 0] = np.arange(40)
    given = np.array(["train"] * 16 + ["validation"] * 4 + ["test"] * 20)
    made = Images(pixels, labels, ("a", "b"), given, masks=masks)
    monkeypatch.setattr(preparation, "load_source", lambda *_: made)
    prepared = preparation.prepare(params.data, seed=0)
    card = preparation.data_card(store.write(tmp_path, prepared.images, prepared.index, "mine"), prepared)
    assert card["masks"] == {"test_images": 5, "by_class": [5, 0]}
    assert preparation.told(card) == [
        "masks: 5 of 20 test images have one that is not empty: of every 100 images drawn for score at most about 25 "
        "can count for localization, by class (score.draw) 25"
    ]
    without = replace(made, masks=None)
    monkeypatch.setattr(preparation, "load_source", lambda *_: without)
    prepared = preparation.prepare(params.data, seed=0)
    card = preparation.data_card(store.write(tmp_path, prepared.images, prepared.index, "mine"), prepared)
    assert card["masks"] is None
    assert preparation.told(card) == []
