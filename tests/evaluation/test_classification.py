import numpy as np
import pytest

from glassbox.evaluation import classification as c
from glassbox.statistics import paired


def test_wilsons_interval_by_hand():
    # z = 1.959964, n = 10, p = 0.8: centre (0.8 + z2/20) / (1 + z2/10), half z/(1 + z2/10) * sqrt(0.016 + z2/400).
    z2 = 1.959964**2
    centre, half = (0.8 + z2 / 20) / (1 + z2 / 10), 1.959964 / (1 + z2 / 10) * (0.016 + z2 / 400) ** 0.5
    assert c.accuracy_interval(8, 10, 0.95) == pytest.approx((0.8, centre - half, centre + half), abs=1e-6)
    assert c.accuracy_interval(10, 10, 0.95)[1:] == pytest.approx((10 / (10 + z2), 1.0), abs=1e-6)


LABELS = np.array([0, 0, 0, 1, 1, 2])
PREDICTED = np.array([0, 0, 1, 1, 0, 0])


def test_confusion_has_true_classes_in_rows():
    assert c.confusion(LABELS, PREDICTED, 4).tolist() == [[2, 1, 0, 0], [1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]


def test_the_report_by_hand():
    table = c.classification_report(LABELS, PREDICTED, ("a", "b", "c"), 0.95).set_index("class")
    intervals = [table.pop(f"{score}_{end}") for score in ("precision", "recall") for end in ("low", "high")]
    f1_low, f1_high = table.pop("f1_low"), table.pop("f1_high")
    assert table.loc["a"].tolist() == pytest.approx([2 / 4, 2 / 3, 4 / 7, 3])
    assert table.loc["b"].tolist() == pytest.approx([1 / 2, 1 / 2, 1 / 2, 2])
    assert table.loc["c"].tolist() == [0, 0, 0, 1]
    assert table.loc["macro average"].tolist() == pytest.approx([1 / 3, (2 / 3 + 1 / 2) / 3, (4 / 7 + 1 / 2) / 3, 6])
    wilson = {counts: c.accuracy_interval(*counts, 0.95)[1:] for counts in ((2, 4), (2, 3), (2, 5), (0, 1))}
    assert [column["a"] for column in intervals] == [*wilson[2, 4], *wilson[2, 3]]
    # 2 of the 5 images that are of class a or predicted as a are both: F1 = 2 * (2 / 5) / (1 + 2 / 5) = 4 / 7.
    assert [f1_low["a"], f1_high["a"]] == [2 * end / (1 + end) for end in wilson[2, 5]]
    assert [column["c"] for column in intervals] == [0.0, 1.0, *wilson[0, 1]]  # c is never predicted
    assert intervals[0].isna().tolist() == f1_low.isna().tolist() == [False, False, False, True]


def test_the_interval_of_macro_f1_of_two_classes_by_hand():
    # With one image more in each cell of the diagonal and one in each beside it: [[46, 6], [11, 41]].
    f1 = np.array([2 * 46 / (46 + 6 + 46 + 11), 2 * 41 / (41 + 11 + 41 + 6)])
    # Macro F1 is the mean of 2 p / q; the derivative of each by p is 2 / q, and by q -2 p / q^2 = -F1 / q.
    q0, q1 = 109 / 104, 99 / 104
    beside = -f1[0] / q0 - f1[1] / q1
    influence = np.array([[2 / q0 - 2 * f1[0] / q0, beside], [beside, 2 / q1 - 2 * f1[1] / q1]]) / 2
    share = np.array([[46, 6], [11, 41]]) / 104
    assert (share * influence).sum() == pytest.approx(0)
    half = 1.959964 * np.sqrt((share * influence**2).sum() / 104)
    expected = (f1.mean() - half, f1.mean() + half)
    assert c.macro_f1_interval(np.array([[45, 5], [10, 40]]), 0.95) == pytest.approx(expected)


@pytest.mark.parametrize(
    "matrix",
    [
        np.diag([10] * 10),
        np.diag([50, 50]),
        np.diag([10, 120, 120]),
        np.full((10, 10), 1),
        np.full((3, 3), 4),
        np.array([[0, 50], [50, 0]]),
        np.array([[119, 1], [10, 0]]),
        np.array([[10, 0, 0], [0, 0, 999], [0, 0, 9999]]),
    ],
    ids=str,
)
def test_the_interval_holds_the_macro_f1_and_has_a_width(matrix):
    labels, predicted = (np.repeat(side.ravel(), matrix.ravel()) for side in np.indices(matrix.shape))
    f1 = paired.macro_f1(labels, predicted, len(matrix))
    low, high = c.macro_f1_interval(matrix, 0.95)
    assert 0 <= low <= f1 <= high <= 1
    assert low < high
    assert (high == 1) or (f1 < 1)
    assert c.macro_f1_interval(matrix, 0.99)[0] <= low


def test_a_hundred_images_without_a_mistake_do_not_exclude_mistakes():
    low, high = c.macro_f1_interval(np.diag([10] * 10), 0.95)
    assert 0.94 < low < 0.97  # Wilson's of the accuracy: 0.963
    assert high == 1


def test_too_few_images_of_a_class_leave_no_interval_of_macro_f1():
    classes = ("cat", "dog")
    assert c.no_macro_f1_interval(np.array([[5, 5], [0, 90]]), classes) is None
    assert c.no_macro_f1_interval(np.array([[90, 9], [1, 8]]), classes) == (
        "dog has only 9 test images, and it takes 10 of each class"
    )
    assert c.no_macro_f1_interval(np.array([[0, 1], [1, 98]]), classes).startswith("cat has only 1 test image, ")
    assert c.no_macro_f1_interval(np.array([[0, 0], [1, 98]]), classes).startswith("cat has only 0 test images, ")


@pytest.mark.parametrize(
    ("sizes", "recalls"),
    [
        pytest.param([10] * 10, [0.6] * 10, id="ten classes of ten images"),
        pytest.param([10] + [120] * 9, [0.99] * 10, id="all alike and nearly all right"),
        pytest.param([10, 100], [0.25, 0.64], id="a rare class, mostly mistaken"),
        pytest.param([10, 120, 120], [0.02, 0.8, 0.98], id="a rare class, never recognised"),
        pytest.param([10, 10], [0.95, 0.9], id="two classes"),
    ],
)
def test_the_interval_of_macro_f1_covers_also_in_the_hardest_cases(sizes, recalls):
    k, rng, held = len(sizes), np.random.default_rng(0), 0
    p = np.stack([np.insert(np.full(k - 1, (1 - r) / (k - 1)), i, r) for i, r in enumerate(recalls)])
    joint = p * np.array(sizes)[:, None]
    truth = (2 * np.diag(joint) / (joint.sum(axis=0) + joint.sum(axis=1))).mean()
    for _ in range(500):
        drawn = np.stack([rng.multinomial(n, of_class) for n, of_class in zip(sizes, p, strict=True)])
        low, high = c.macro_f1_interval(drawn, 0.95)
        held += low <= truth <= high
    assert held >= 0.92 * 500


def test_confused_pairs_count_both_ways_and_near_misses_break_ties():
    matrix = np.array([[9, 1, 0], [2, 8, 0], [0, 0, 10]])
    p = np.array([[0.7, 0.2, 0.1], [0.3, 0.7, 0.0], [0.05, 0.25, 0.7]])
    pairs = c.confused_pairs(matrix, p, np.array([0, 1, 2]))
    assert [(pair.a, pair.b, pair.ab, pair.ba, pair.total) for pair in pairs] == [
        (0, 1, 1, 2, 3),
        (1, 2, 0, 0, 0),  # 0.25 of class 2's probability goes to class 1 ...
        (0, 2, 0, 0, 0),  # ... but only 0.1 + 0.05 between classes 0 and 2
    ]
