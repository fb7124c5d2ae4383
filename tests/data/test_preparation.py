import numpy as np
import pytest

from glassbox.data import preparation, store
from glassbox.data.base import Images
from glassbox.errors import UserError


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


def test_the_index_leads_back_to_the_source(params):
    from glassbox.data.sources import load_source

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
