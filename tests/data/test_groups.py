import re

import numpy as np
import pytest
from image_files import load, save, section
from PIL import Image

from glassbox.core.errors import UserError
from glassbox.data import groups, preparation, store

NAMES = ("cats/part1_a.jpg", "cats/part12_b.jpg", "dogs/part1_c.jpg")


def test_a_pattern_in_the_names(tmp_path):
    assert groups.read(r"part(\d+)_", NAMES, tmp_path).tolist() == ["1", "12", "1"]
    assert groups.read(r"^([a-z]+)/", NAMES, tmp_path).tolist() == ["cats", "cats", "dogs"]
    with pytest.raises(UserError) as refused:
        groups.read(r"part(1)_", NAMES, tmp_path)
    assert str(refused.value) == (
        "data.groups = 'part(1)_': the image cats/part12_b.jpg does not match it; every image must have a group"
    )


def test_a_table(tmp_path):
    table = tmp_path / "Groups.CSV"
    rows = [f"{name},person {number // 2}" for number, name in enumerate(NAMES)]
    table.write_text("\n".join(["file,group", *rows, "birds/none.jpg,x"]), encoding="utf-8-sig")
    assert groups.read("Groups.CSV", NAMES, tmp_path).tolist() == ["person 0", "person 0", "person 1"]


NO_COLUMNS = "data.groups: {path} must have the columns file and group in its first line"
NO_ROW = "data.groups = 'g.csv': the image {name} has no row with its group in it; every image must have a group"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "data.groups = 'g.csv': there is no file {path}"),
        (b"name,group\n", NO_COLUMNS),
        (b"", NO_COLUMNS),
        (b"file,group\n{0},1\n", NO_ROW.format(name=NAMES[1])),
        (b"file,group\n{0},\n", NO_ROW.format(name=NAMES[0])),
        (b"file,group\n{0},1\n{0},2\n", "data.groups: {path} puts cats/part1_a.jpg into '1' and '2'"),
        (b"file,group\n\xff,1\n", "data.groups: {path} cannot be read as a table in UTF-8 ("),
    ],
)
def test_a_wrong_table_is_refused(tmp_path, content, sentence):
    if content is not None:
        (tmp_path / "g.csv").write_bytes(content.replace(b"{0}", NAMES[0].encode()))
    whole = re.escape(sentence.format(path=tmp_path / "g.csv"))
    with pytest.raises(UserError, match=whole if whole.endswith("\\(") else f"^{whole}$"):
        groups.read("g.csv", NAMES, tmp_path)


@pytest.fixture
def parts(tmp_path):
    """A folder of three images each of eight parts, four of each class."""
    for number in range(8):
        for view in range(3):
            name = f"{('good', 'bad')[number % 2]}/part{number}_{view}.png"
            save(tmp_path / "parts" / name, Image.new("RGB", (9, 9), (number, view, 0)))
    return tmp_path / "parts"


PATTERN = r"part(\d+)_"


def test_images_of_a_part_are_in_one_split_and_the_card_counts_them(parts, tmp_path):
    prepared = preparation.prepare(section(parts, groups=PATTERN), seed=0)
    images = prepared.images
    for group in np.unique(images.groups):
        assert len(set(images.splits[images.groups == group])) == 1
    card = preparation.data_card(store.write(tmp_path / "out", images, prepared.index, "mine"), prepared)
    assert card["groups"] == {"count": 8, "by_split": {"train": 4, "validation": 2, "test": 2}}
    assert preparation.told(card) == ["groups: 8, none in two splits (4 train, 2 validation, 2 test)"]


def test_an_image_without_a_group_is_named_before_any_is_read(parts):
    (parts / "good/other.png").write_text("no image")
    with pytest.raises(UserError, match=r"the image good/other.png does not match it"):
        load(parts, groups=PATTERN)


def test_unreadable_images_and_those_above_the_limit_leave_their_groups(parts):
    (parts / "good/part0_9.png").write_text("no image")
    settings = section(parts, groups=PATTERN, bad_images="skip", limit=20)
    limited = preparation.prepare(settings, seed=0).images
    assert len(limited) == 20
    for images in (load(parts, groups=PATTERN, bad_images="skip"), limited):
        assert images.groups.tolist() == [name.partition("part")[2][0] for name in images.names]
