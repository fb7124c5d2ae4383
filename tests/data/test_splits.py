import re

import numpy as np
import pytest
from conftest import ROOT

from glassbox.core.errors import UserError
from glassbox.data import splits
from glassbox.data.base import SPLITS, Images


def images(counts: dict[str, int], given: np.ndarray | None = None) -> Images:
    """Distinct images, `counts[name]` of each class, in the `given` splits."""
    labels = np.repeat(np.arange(len(counts)), list(counts.values()))
    pixels = np.zeros((len(labels), 2, 2, 3), np.uint8)
    pixels[:, 0, 0, 0], pixels[:, 0, 0, 1] = np.arange(len(labels)) % 256, np.arange(len(labels)) // 256
    return Images(pixels, labels, tuple(counts), given)


def in_groups(counts: list[list[int]], given: np.ndarray | None = None) -> Images:
    """`counts[g][k]` images of class k in group g."""
    counts = np.array(counts)
    groups, labels = (np.repeat(numbers, counts.ravel()) for numbers in map(np.ravel, np.indices(counts.shape)))
    pixels, classes = np.zeros((len(labels), 2, 2, 3), np.uint8), tuple("abc"[: counts.shape[1]])
    return Images(pixels, labels, classes, given, groups=np.char.add("g", groups.astype(str)))


@pytest.mark.parametrize("source", [images({"a": 100, "b": 50}), in_groups([[1, 0]] * 100 + [[0, 1]] * 50)])
def test_shares_are_kept_in_every_split_and_the_seed_decides(source):
    """Of images, and of groups of one image each."""
    divided = splits.assign(source, 0.2, 0.25, seed=1)
    for split, a, b in (("test", 20, 10), ("validation", 20, 10), ("train", 60, 30)):
        assert np.bincount(divided.labels[divided.splits == split]).tolist() == [a, b]
    again, other = (splits.assign(source, 0.2, 0.25, seed) for seed in (1, 2))
    assert np.array_equal(divided.splits, again.splits)
    assert not np.array_equal(divided.splits, other.splits)


@pytest.mark.parametrize("counts", [[3, 3], [3] * 3, [5] * 3, [6] * 3, [5] * 100, [5, 200, 200], [3, 200], [4, 30, 31]])
@pytest.mark.parametrize("fractions", [(0.2, 0.2), (0.05, 0.1), (0.6, 0.7)])
def test_three_images_of_a_class_are_enough_for_every_seed(counts, fractions):
    """Each split gets one of each class, if the fractions allow no more."""
    source = images({str(label): n for label, n in enumerate(counts)})
    splits.check_source(source)
    for seed in range(10):
        divided = splits.assign(source, *fractions, seed)
        by_split = {split: np.bincount(divided.labels[divided.splits == split]) for split in SPLITS}
        assert all(len(n) == len(counts) and n.min() >= 1 for n in by_split.values())
        if len(set(counts)) == 1 and counts[0] <= 5 and fractions == (0.2, 0.2):
            assert set(by_split["test"]) | set(by_split["validation"]) == {1}


def test_quotas_by_largest_remainder_by_hand():
    # 20 of 100 images: 14.2, 3.8 and 2.0 of each class; 4 of 12: 3.33, 0.33 and 0.33, and every class needs one.
    assert splits._quotas(np.array([71, 19, 10]), 20, 2).tolist() == [14, 4, 2]
    assert splits._quotas(np.array([10, 1 + 2, 1 + 2]), 4, 2).tolist() == [2, 1, 1]
    assert splits._quotas(np.array([3, 3, 90]), 90, 2).tolist() == [1, 1, 88]  # no class gives its last two


@pytest.mark.parametrize("seed", range(5))
def test_a_group_is_in_one_split_and_the_shares_are_met(seed):
    rng = np.random.default_rng(seed)
    counts = [[int(n), 0, 0] for n in rng.integers(1, 9, 60)] + [[0, int(n), 0] for n in rng.integers(1, 9, 30)]
    counts += [[0, 0, int(n)] for n in rng.integers(1, 4, 4)] + [[2, 3, 0]] * 5
    source = in_groups(counts)
    divided = splits.assign(source, 0.2, 0.25, seed)
    for group in np.unique(divided.groups):
        assert len(set(divided.splits[divided.groups == group])) == 1
    for split, share in (("test", 0.2), ("validation", 0.2), ("train", 0.6)):
        members = np.bincount(divided.labels[divided.splits == split], minlength=3)
        assert members[:2] / np.bincount(source.labels)[:2] == pytest.approx([share] * 2, abs=0.03)
        assert members[2] >= 1  # each split has one of the four groups of the rare class


def test_a_split_of_the_source_is_kept_and_the_other_drawn_in_groups():
    given = np.array((["train"] * 6 + ["validation"] * 2 + ["test"] * 2) * 2)
    assert np.array_equal(splits.assign(images({"a": 10, "b": 10}, given), 0.5, 0.5, seed=0).splits, given)
    given = np.array((["test"] * 2 + ["train"] * 8) * 2)
    divided = splits.assign(in_groups([[2, 0]] * 5 + [[0, 2]] * 5, given), 0.5, 0.25, seed=0)
    assert (divided.splits[given == "test"] == "test").all()
    for label in (0, 1):
        assert np.unique(divided.groups[(divided.splits == "validation") & (divided.labels == label)]).size == 1


def test_the_papers_split_of_cifar10():
    given = np.array(["train"] * 50_000 + ["test"] * 10_000)
    labels = np.arange(60_000) % 10
    cifar = Images(np.zeros((60_000, 1, 1, 3), np.uint8), labels, tuple("abcdefghij"), given)
    divided = splits.assign(cifar, 0.2, 0.2, seed=0)
    assert [int((divided.splits == split).sum()) for split in SPLITS] == [40_000, 10_000, 10_000]
    assert (divided.splits[50_000:] == "test").all()
    assert set(np.bincount(divided.labels[divided.splits == "validation"])) == {1000}


def test_limit_keeps_the_shares_of_splits_and_classes():
    source = images({"a": 200, "b": 200}, np.array((["train"] * 150 + ["test"] * 50) * 2))
    rows = splits.limit(source, 40, seed=0)
    assert len(rows) == 40
    assert (np.diff(rows) > 0).all()
    part = source.take(rows)
    assert int((part.splits == "train").sum()) == 30
    assert np.bincount(part.labels).tolist() == [20, 20]
    for limit in (None, 4000):
        assert splits.limit(source, limit, seed=0).tolist() == list(range(400))
    with pytest.raises(UserError, match=r"data.limit = 11 cannot be drawn .* smallest \(b\) with 1"):
        splits.limit(images({"a": 30, "b": 1}), 11, seed=0)


def test_a_class_that_is_missing_from_a_split_is_refused():
    given = np.array(["train"] * 20 + ["test"] * 5 + ["train"] * 20)
    with pytest.raises(UserError, match=r"the test split has no image of class 'b'"):
        splits.assign(images({"a": 25, "b": 20}, given), 0.2, 0.2, seed=0)


THREE = "it needs at least 3, one for each of train, validation and test, which are drawn from them"
MORE = " (more images, or a larger data.limit)"


def test_fewer_images_or_groups_of_a_class_than_splits_are_refused():
    page = " ".join((ROOT / "docs/own-images.md").read_text().split())
    assert "so that a class needs three images, one for each split" in page
    for source, kind in ((images({"a": 3, "b": 2}), "images"), (in_groups([[4, 0]] * 3 + [[0, 9]] * 2), "groups")):
        with pytest.raises(UserError, match=f"^class 'b' has 2 {kind}: {THREE}$"):
            splits.check_source(source)
        with pytest.raises(UserError, match=f"^class 'b' has 2 {kind}: {THREE}{re.escape(MORE)}$"):
            splits.assign(source, 0.2, 0.2, seed=0)
    with pytest.raises(UserError, match=f"^the class folder 'b' of my pets has 1 image: {THREE}$"):
        splits.check_source(images({"a": 3, "b": 1}), "my pets")


def test_a_group_in_two_splits_of_the_source_is_refused():
    with pytest.raises(UserError) as refused:
        splits.check_source(in_groups([[2, 0]] * 3 + [[0, 2]] * 3, np.array(["train", "test"] * 6)))
    assert str(refused.value) == (
        "data.groups: images of the group 'g0' are in the splits test and train, which the source defines: every group "
        "must be in one"
    )


NONE = "class 'b' has no image in the {} split: every class needs at least one in each of {}"
ONE = "class 'b' has 1 training image: it needs at least 2, one for each of train and {}, which are drawn from them"


@pytest.mark.parametrize(
    ("a", "b", "sentence"),
    [
        ("train train test", "train train", NONE.format("test", "train and test")),
        ("train train test", "test", NONE.format("train", "train and test")),
        ("train validation test", "train test", NONE.format("validation", "train, validation and test")),
        ("train train test", "train test", ONE.format("validation")),
        ("train train validation", "train validation", ONE.format("test")),
    ],
)
def test_too_few_images_in_the_splits_of_the_source_are_refused(a, b, sentence):
    source = images({"a": len(a.split()), "b": len(b.split())}, np.array([*a.split(), *b.split()]))
    with pytest.raises(UserError) as refused:
        splits.check_source(source)
    assert str(refused.value) == sentence
    splits.check_source(images({"a": 3, "b": 3}, np.array(["train", "train", "test"] * 2)))


def test_duplicates_by_hand():
    given = np.array(["train", "train", "train", "validation", "test", "test", "train", "train"])
    source = images({"a": 4, "b": 4}, given)
    source.pixels[1] = source.pixels[0]  # twice in training
    source.pixels[4] = source.pixels[2]  # training and test, with different labels
    source.pixels[5] = source.pixels[2]
    duplicates = splits.find_duplicates(source)
    assert duplicates.table["group"].to_dict() == {0: 0, 1: 0, 2: 1, 4: 1, 5: 1}
    assert duplicates.counts == {
        "groups": 2,
        "repeated_within_split": {"train": 1, "validation": 0, "test": 1},
        "also_in_another_split": {"train": 1, "validation": 0, "test": 2},
        "groups_with_different_labels": 1,
    }
    assert duplicates.droppable.tolist() == [1, 2]  # one of the first pair stays; test images are not trained on
