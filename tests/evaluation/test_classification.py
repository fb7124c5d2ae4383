import numpy as np
import pytest

from glassbox.evaluation import classification as c


def test_wilsons_interval_by_hand():
    # z = 1.959964, n = 10, p = 0.8: centre (0.8 + z2/20) / (1 + z2/10), half z/(1 + z2/10) * sqrt(0.016 + z2/400).
    z2 = 1.959964**2
    centre, half = (0.8 + z2 / 20) / (1 + z2 / 10), 1.959964 / (1 + z2 / 10) * (0.016 + z2 / 400) ** 0.5
    assert c.accuracy_interval(8, 10, 0.95) == pytest.approx((0.8, centre - half, centre + half), abs=1e-6)
    assert c.accuracy_interval(10, 10, 0.95)[1:] == pytest.approx((10 / (10 + z2), 1.0), abs=1e-6)


def test_the_interval_of_the_notes():
    # 94 % of 10,000: half a point either way.
    _, low, high = c.accuracy_interval(9400, 10_000, 0.95)
    assert (high - low) / 2 == pytest.approx(0.0047, abs=1e-4)


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
    # 2 of the 5 images that are of class a or taken for it are both: F1 = 2 * (2 / 5) / (1 + 2 / 5) = 4 / 7.
    assert [f1_low["a"], f1_high["a"]] == [2 * end / (1 + end) for end in wilson[2, 5]]
    assert [column["c"] for column in intervals] == [0.0, 1.0, *wilson[0, 1]]  # nothing was taken for a c
    assert intervals[0].isna().tolist() == f1_low.isna().tolist() == [False, False, False, True]


def test_the_interval_of_macro_f1_is_that_of_images_drawn_again():
    matrix = np.array([[400, 0], [100, 300]])
    labels, predicted = np.repeat([0, 1, 1], [400, 100, 300]), np.repeat([0, 0, 1], [400, 100, 300])
    low, high = c.macro_f1_interval(labels, predicted, 2, 0.95, 0)
    draws = np.random.default_rng(1).choice(4, (300, 800), p=matrix.ravel() / 800)  # image by image, by scikit-learn
    from sklearn.metrics import f1_score

    scores = [f1_score(row // 2, row % 2, average="macro") for row in draws]
    assert [low, high] == pytest.approx(np.quantile(scores, [0.025, 0.975]), abs=0.006)
    assert low < (800 / 900 + 600 / 700) / 2 < high
    assert c.macro_f1_interval(labels, predicted, 2, 0.95, 0) == (low, high)
    assert c.macro_f1_interval(labels, labels, 2, 0.95, 0) == (1.0, 1.0)


def test_confused_pairs_count_both_ways_and_near_misses_break_ties():
    matrix = np.array([[9, 1, 0], [2, 8, 0], [0, 0, 10]])
    p = np.zeros((3, 3))
    p[0], p[1], p[2] = [0.7, 0.2, 0.1], [0.3, 0.7, 0.0], [0.05, 0.25, 0.7]
    pairs = c.confused_pairs(matrix, p, np.array([0, 1, 2]))
    assert [(pair.a, pair.b, pair.ab, pair.ba, pair.total) for pair in pairs] == [
        (0, 1, 1, 2, 3),
        (1, 2, 0, 0, 0),  # 0.25 of class 2's probability goes to class 1 ...
        (0, 2, 0, 0, 0),  # ... but only 0.1 + 0.05 between classes 0 and 2
    ]
