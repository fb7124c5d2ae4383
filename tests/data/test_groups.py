import numpy as np
import pytest
from PIL import Image

from glassbox.core.errors import UserError
from glassbox.data import groups, preparation, store
from glassbox.data.base import Asked
from glassbox.data.sources import image_folder

NAMES = ("cats/part1_a.jpg", "cats/part12_b.jpg", "dogs/part1_c.jpg")


def test_a_pattern_in_the_names():
    assert groups.read(r"part(\d+)_", NAMES, ".").tolist() == ["1", "12", "1"]
    assert groups.read(r"^([a-z]+)/", NAMES, ".").tolist() == ["cats", "cats", "dogs"]
    with pytest.raises(UserError) as refused:
        groups.read(r"part(1)_", NAMES, ".")
    assert str(refused.value) == (
        "data.groups = 'part(1)_': the image cats/part12_b.jpg does not match it; every image must have a group"
    )


def test_a_table(tmp_path):
    table = tmp_path / "Groups.CSV"
    rows = [f"{name},person {number // 2}" for number, name in enumerate(NAMES)]
    table.write_text("\n".join(["file,group", *rows, "birds/none.jpg,x"]), encoding="utf-8-sig")
    assert groups.read("Groups.CSV", NAMES, tmp_path).tolist() == ["person 0", "person 0", "person 1"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, "data.groups = 'g.csv': there is no file {path}"),
        ("name,group\n", "data.groups: {path} must have the columns file and group in its first line"),
        ("", "data.groups: {path} must have the columns file and group in its first line"),
        (
            "file,group\ncats/part1_a.jpg,1\n",
            "data.groups = 'g.csv': the image cats/part12_b.jpg has no row with its group in it; every image must have "
            "a group",
        ),
        (
            "file,group\ncats/part1_a.jpg,\n",
            "data.groups = 'g.csv': the image cats/part1_a.jpg has no row with its group in it; every image must have "
            "a group",
        ),
        (
            "file,group\ncats/part1_a.jpg,1\ncats/part1_a.jpg,2\n",
            "data.groups: {path} puts cats/part1_a.jpg into '1' and '2'",
        ),
    ],
)
def test_what_is_wrong_with_a_table_is_said(tmp_path, text, sentence):
    if text is not None:
        (tmp_path / "g.csv").write_text(text)
    with pytest.raises(UserError) as refused:
        groups.read("g.csv", NAMES, tmp_path)
    assert str(refused.value) == sentence.format(path=tmp_path / "g.csv")


def test_bytes_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "g.csv").write_bytes(b"file,group\n\xff,1\n")
    with pytest.raises(UserError, match=r"data.groups: .*g.csv cannot be read as a table in UTF-8"):
        groups.read("g.csv", NAMES, tmp_path)


@pytest.fixture
def parts(tmp_path, params):
    """The section `data` for a folder of pictures of eight parts, of each class four with three pictures each."""
    for number in range(8):
        folder = tmp_path / "parts" / ("good", "bad")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        for view in range(3):
            Image.new("RGB", (9, 9), (number, view, 0)).save(folder / f"part{number}_{view}.png")
    changes = {"source": "image_folder", "path": str(tmp_path / "parts"), "image_size": 8, "groups": r"part(\d+)_"}
    return params.data.model_copy(update=changes)


def test_pictures_of_a_part_are_in_one_split_and_the_card_says_so(parts, tmp_path):
    prepared = preparation.prepare(parts, seed=0)
    made = prepared.images
    for group in np.unique(made.groups):
        assert len(set(made.splits[made.groups == group])) == 1
    card = preparation.data_card(store.write(tmp_path / "out", made, prepared.index, "mine"), prepared)
    assert card["groups"] == {"count": 8, "by_split": {"train": 4, "validation": 2, "test": 2}}
    assert preparation.told(card) == ["groups: 8, none in two splits (4 train, 2 validation, 2 test)"]
    alone = preparation.prepare(parts.model_copy(update={"groups": None}), seed=0)
    about = store.write(tmp_path / "out", alone.images, alone.index, "mine")
    assert preparation.data_card(about, alone)["groups"] is None


def test_an_image_without_a_group_is_named_before_any_is_read(parts, tmp_path):
    (tmp_path / "parts/good/other.png").write_text("no image")
    with pytest.raises(UserError, match=r"the image good/other.png does not match it"):
        preparation.prepare(parts, seed=0)


def test_groups_go_with_images_that_are_left_out_and_with_a_limit(parts, tmp_path):
    (tmp_path / "parts/good/part0_9.png").write_text("no image")
    source = image_folder.source(Asked(parts.model_copy(update={"bad_images": "skip"}), 0))
    assert source.groups.tolist() == [name.partition("part")[2][0] for name in source.names]
    limited = preparation.prepare(parts.model_copy(update={"bad_images": "skip", "limit": 20}), seed=0).images
    assert len(limited) == 20
    assert limited.groups.tolist() == [name.partition("part")[2][0] for name in limited.names]


def test_a_part_on_both_sides_of_a_folders_own_splits_is_refused(parts, tmp_path):
    for split in ("train", "test"):
        for name in ("good", "bad"):
            folder = tmp_path / "own" / split / name
            folder.mkdir(parents=True)
            for view in range(3):
                Image.new("RGB", (9, 9), (view, len(name), len(split))).save(folder / f"part{len(name)}_{view}.png")
    with pytest.raises(UserError, match=r"data.groups: images of the group '3' are in the splits test and train"):
        preparation.prepare(parts.model_copy(update={"path": str(tmp_path / "own")}), seed=0)
