from contextlib import nullcontext

import numpy as np
import pytest
from conftest import ROOT

from glassbox.core.errors import UserError
from glassbox.data import splits
from glassbox.data.base import SPLITS, Images


def images(counts: dict[str, int], given: np.ndarray | None = None) -> Images:
    """Distinct images, `counts[name]` of each class."""
    labels = np.repeat(np.arange(len(counts)), list(counts.values()))
    pixels = np.zeros((len(labels), 2, 2, 3), np.uint8)
    pixels[:, 0, 0, 0], pixels[:, 0, 0, 1] = np.arange(len(labels)) % 256, np.arange(len(labels)) // 256
    return Images(pixels, labels, tuple(counts), given)


def test_shares_are_kept_in_every_split_and_the_seed_decides():
    made = splits.assign(images({"a": 100, "b": 50}), 0.2, 0.25, seed=1)
    for split, a, b in (("test", 20, 10), ("validation", 20, 10), ("train", 60, 30)):
        assert np.bincount(made.labels[made.splits == split]).tolist() == [a, b]
    again = splits.assign(images({"a": 100, "b": 50}), 0.2, 0.25, seed=1)
    other = splits.assign(images({"a": 100, "b": 50}), 0.2, 0.25, seed=2)
    assert np.array_equal(made.splits, again.splits)
    assert not np.array_equal(made.splits, other.splits)


@pytest.mark.parametrize("counts", [[3, 3], [3] * 3, [5] * 3, [6] * 3, [5] * 100, [5, 200, 200], [3, 200], [4, 30, 31]])
@pytest.mark.parametrize("fractions", [(0.2, 0.2), (0.05, 0.1), (0.6, 0.7)])
def test_three_images_of_a_class_are_enough_for_every_seed(counts, fractions):
    """With one of each in every split, where the fractions allow no more."""
    source = images({str(label): n for label, n in enumerate(counts)})
    splits.check_source(source)
    for seed in range(10):
        made = splits.assign(source, *fractions, seed)
        by_split = {split: np.bincount(made.labels[made.splits == split]) for split in SPLITS}
        assert all(len(n) == len(counts) and n.min() >= 1 for n in by_split.values())
        if len(set(counts)) == 1 and counts[0] <= 5 and fractions == (0.2, 0.2):
            assert set(by_split["test"]) | set(by_split["validation"]) == {1}


def test_the_page_says_how_many_images_of_a_class_are_enough():
    page = " ".join((ROOT / "docs/own-images.md").read_text().split())
    assert "so that a class needs three images, one for each split" in page
    for n, enough in ((3, True), (2, False)):
        source = images({"a": n, "b": n})
        with nullcontext() if enough else pytest.raises(UserError, match="it needs at least 3, one for each"):
            splits.check_source(source)
            splits.assign(source, 0.2, 0.2, 0)


def test_quotas_by_largest_remainder_by_hand():
    # 20 of 100 images: 14.2, 3.8 and 2.0 of each class; 4 of 12: 3.33, 0.33 and 0.33, and every class needs one.
    assert splits._quotas(np.array([71, 19, 10]), 20, 2).tolist() == [14, 4, 2]
    assert splits._quotas(np.array([10, 1 + 2, 1 + 2]), 4, 2).tolist() == [2, 1, 1]
    assert splits._quotas(np.array([3, 3, 90]), 90, 2).tolist() == [1, 1, 88]  # no class gives its last two


def in_groups(counts: list[list[int]], given: np.ndarray | None = None) -> Images:
    """`counts[g][k]` images of class k in group g."""
    groups, labels = [], []
    for group, row in enumerate(counts):
        for label, n in enumerate(row):
            groups += [f"g{group}"] * n
            labels += [label] * n
    pixels = np.zeros((len(labels), 2, 2, 3), np.uint8)
    classes = tuple("abc"[: len(counts[0])])
    return Images(pixels, np.array(labels), classes, given, groups=np.array(groups))


@pytest.mark.parametrize("seed", range(5))
def test_a_group_is_in_one_split_and_the_shares_are_met(seed):
    rng = np.random.default_rng(seed)
    counts = [[int(n), 0, 0] for n in rng.integers(1, 9, 60)] + [[0, int(n), 0] for n in rng.integers(1, 9, 30)]
    counts += [[0, 0, int(n)] for n in rng.integers(1, 4, 4)] + [[2, 3, 0]] * 5
    source = in_groups(counts)
    made = splits.assign(source, 0.2, 0.25, seed)
    for group in np.unique(made.groups):
        assert len(set(made.splits[made.groups == group])) == 1
    whole = np.bincount(made.labels)
    for split, share in (("test", 0.2), ("validation", 0.2), ("train", 0.6)):
        found = np.bincount(made.labels[made.splits == split], minlength=3)
        assert found[:2] / whole[:2] == pytest.approx([share] * 2, abs=0.03)
        assert found[2] >= 1  # of four groups of the rare class each split has one at least
    assert np.array_equal(splits.assign(source, 0.2, 0.25, seed).splits, made.splits)
    assert not np.array_equal(splits.assign(source, 0.2, 0.25, seed + 1).splits, made.splits)


def test_groups_of_one_image_are_drawn_as_images_are():
    made = splits.assign(in_groups([[1, 0]] * 100 + [[0, 1]] * 50), 0.2, 0.25, seed=0)
    for split, a, b in (("test", 20, 10), ("validation", 20, 10), ("train", 60, 30)):
        assert np.bincount(made.labels[made.splits == split]).tolist() == [a, b]


def test_what_groups_forbid_is_said():
    with pytest.raises(UserError) as refused:
        splits.assign(in_groups([[4, 0]] * 3 + [[0, 9]] * 2), 0.2, 0.2, seed=0)
    assert str(refused.value) == (
        "class 'b' has 2 groups to draw from: it needs at least 3, one for each of train, validation and test (more "
        "images, or a larger data.limit)"
    )
    given = np.array(["train", "test"] * 6)
    with pytest.raises(UserError) as refused:
        splits.check_source(in_groups([[2, 0]] * 3 + [[0, 2]] * 3, given))
    assert str(refused.value) == (
        "data.groups: images of the group 'g0' are in the splits test and train, which the source names: every group "
        "must be in one"
    )


def test_a_split_of_the_source_is_kept_and_the_other_drawn_in_groups():
    given = np.array((["test"] * 2 + ["train"] * 8) * 2)
    made = splits.assign(in_groups([[2, 0]] * 5 + [[0, 2]] * 5, given), 0.5, 0.25, seed=0)
    assert (made.splits[given == "test"] == "test").all()
    for label in (0, 1):
        assert np.unique(made.groups[(made.splits == "validation") & (made.labels == label)]).size == 1


def test_the_papers_split_of_cifar10():
    given = np.array(["train"] * 50_000 + ["test"] * 10_000)
    labels = np.arange(60_000) % 10
    cifar = Images(np.zeros((60_000, 1, 1, 3), np.uint8), labels, tuple("abcdefghij"), given)
    made = splits.assign(cifar, 0.2, 0.2, seed=0)
    assert [int((made.splits == split).sum()) for split in ("train", "validation", "test")] == [40_000, 10_000, 10_000]
    assert (made.splits[50_000:] == "test").all()
    assert set(np.bincount(made.labels[made.splits == "validation"])) == {1000}


def test_a_validation_split_of_the_source_is_kept():
    given = np.array((["train"] * 6 + ["validation"] * 2 + ["test"] * 2) * 2)
    made = splits.assign(images({"a": 10, "b": 10}, given), 0.5, 0.5, seed=0)
    assert np.array_equal(made.splits, given)


def test_limit_keeps_the_shares_of_splits_and_classes():
    given = np.array(["train"] * 300 + ["test"] * 100)
    source = Images(np.zeros((400, 1, 1, 3), np.uint8), np.arange(400) % 2, ("a", "b"), given)
    rows = splits.limit(source, 40, seed=0)
    assert len(rows) == 40
    assert (np.diff(rows) > 0).all()
    part = source.take(rows)
    assert int((part.splits == "train").sum()) == 30
    assert np.bincount(part.labels).tolist() == [20, 20]
    assert (
        splits.limit(source, None, seed=0).tolist() == splits.limit(source, 4000, seed=0).tolist() == list(range(400))
    )


def test_what_cannot_be_split_says_so():
    with pytest.raises(UserError, match=r"data.limit = 11 cannot be drawn .* smallest \(b\) with 1"):
        splits.limit(images({"a": 30, "b": 1}), 11, seed=0)
    with pytest.raises(UserError) as refused:
        splits.assign(images({"a": 3, "b": 2}), 0.2, 0.2, seed=0)
    assert str(refused.value) == (
        "class 'b' has 2 images to draw from: it needs at least 3, one for each of train, validation and test (more "
        "images, or a larger data.limit)"
    )
    given = np.array(["train"] * 20 + ["test"] * 5 + ["train"] * 20)
    with pytest.raises(UserError, match=r"the test split has no image of class 'b'"):
        splits.assign(images({"a": 25, "b": 20}, given), 0.2, 0.2, seed=0)


def test_a_source_must_have_enough_of_every_class():
    splits.check_source(images({"a": 3, "b": 3}))
    with pytest.raises(UserError) as refused:
        splits.check_source(images({"a": 3, "b": 1}), "my pets")
    assert str(refused.value) == (
        "the class folder 'b' of my pets has 1 image: it needs at least 3, one for each of train, validation and test, "
        "which are drawn from them"
    )
    with pytest.raises(UserError, match=r"^class 'a' has 2 images: it needs at least 3, one for each of"):
        splits.check_source(images({"a": 2, "b": 9}))


@pytest.mark.parametrize(
    ("a", "b", "sentence"),
    [
        ("train train test", "train train", "class 'b' has no image in the test split: every class needs at least one "
         "in each of train and test"),
        ("train train test", "test", "class 'b' has no image in the train split: every class needs at least one in "
         "each of train and test"),
        ("train validation test", "train test", "class 'b' has no image in the validation split: every class needs at "
         "least one in each of train, validation and test"),
        ("train train test", "train test", "class 'b' has 1 training image: it needs at least 2, one for each of train "
         "and validation, which are drawn from them"),
        ("train train validation", "train validation", "class 'b' has 1 training image: it needs at least 2, one for "
         "each of train and test, which are drawn from them"),
    ],
)  # fmt: skip
def test_a_class_must_not_be_missing_from_a_split_that_the_source_names(a, b, sentence):
    given = np.array([*a.split(), *b.split()])
    source = images({"a": len(a.split()), "b": len(b.split())}, given)
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
    found = splits.find_duplicates(source)
    assert found.groups == [[0, 1], [2, 4, 5]]
    assert found.within == {"train": 1, "validation": 0, "test": 1}
    assert found.across == {"train": 1, "validation": 0, "test": 2}
    assert found.contradicting == 1
    assert found.droppable.tolist() == [1, 2]  # one of the first pair stays; what is tested is not trained on
