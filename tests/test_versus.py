import numpy as np
import pytest
from sklearn.metrics import f1_score

from glassbox import versus
from glassbox.versus import Answers


def answers(labels: np.ndarray, predicted: np.ndarray, sure: float = 0.9) -> Answers:
    """Of three classes, the predicted one with probability `sure`."""
    p = np.full((len(labels), 3), (1 - sure) / 2)
    p[np.arange(len(labels)), predicted] = sure
    return Answers(labels, p)


LABELS = np.array([0, 1, 2] * 20)


def with_mistakes(rows: list[int]) -> np.ndarray:
    predicted = LABELS.copy()
    predicted[rows] = (predicted[rows] + 1) % 3
    return predicted


def test_mcnemar_by_hand():
    # 1 of 8 by a fair coin, both sides: 2 * (1 + 8) / 256.
    assert versus.mcnemar(1, 7) == versus.mcnemar(7, 1) == pytest.approx(18 / 256)
    assert versus.mcnemar(4, 4) == 1
    assert versus.mcnemar(0, 0) == 1


def test_differences_by_hand():
    a, b = answers(LABELS, with_mistakes([0, 1, 2, 3, 4, 5, 6, 7])), answers(LABELS, with_mistakes([7, 8]), sure=0.8)
    found = versus.versus(a, b, 10, 0)
    rows = found.metrics.set_index("metric")
    assert rows.loc["accuracy", ["a", "b", "difference"]].tolist() == pytest.approx([52 / 60, 58 / 60, 6 / 60])
    assert rows.loc["accuracy", "low"] < 6 / 60 < rows.loc["accuracy", "high"]
    assert rows.loc["macro_f1", "a"] == pytest.approx(f1_score(LABELS, a.predicted, average="macro"))
    assert rows.loc["macro_f1", "b"] == pytest.approx(f1_score(LABELS, b.predicted, average="macro"))
    assert rows.loc["brier", "a"] == pytest.approx((52 * (0.01 + 2 * 0.0025) + 8 * (0.81 + 0.9025 + 0.0025)) / 60)
    assert rows.loc["log_loss", "b"] == pytest.approx(-(58 * np.log(0.8) + 2 * np.log(0.1)) / 60)
    assert rows.loc["ece", "a"] == pytest.approx(abs(0.9 - 52 / 60))
    assert sorted(found.only_b) == [0, 1, 2, 3, 4, 5, 6]
    assert found.only_a.tolist() == [8]
    assert found.p == versus.mcnemar(1, 7)
    assert found.matrix.sum() == 0
    assert found.matrix[0].tolist() == [3 - 0, -3, 0]  # rows 0, 3, 6 of class 0 are no longer taken for class 1


def test_which_is_better_hangs_on_the_direction():
    worse, better = answers(LABELS, with_mistakes(list(range(20)))), answers(LABELS, LABELS)
    table = versus.versus(worse, better, 10, 0).metrics.set_index("metric")["better"]
    assert table[["accuracy", "macro_f1", "log_loss", "brier"]].tolist() == ["b"] * 4
    table = versus.versus(better, worse, 10, 0).metrics.set_index("metric")["better"]
    assert table[["accuracy", "macro_f1", "log_loss", "brier"]].tolist() == ["a"] * 4
    assert versus.versus(better, better, 10, 0).metrics["better"].tolist() == [""] * 5


def test_the_interval_of_macro_f1_is_that_of_images_drawn_again():
    a, b = answers(LABELS, with_mistakes([0, 1, 3, 4, 9, 12])), answers(LABELS, with_mistakes([2, 5, 30]))
    row = versus.versus(a, b, 10, 0).metrics.set_index("metric").loc["macro_f1"]
    rng = np.random.default_rng(1)
    differences = []
    for _ in range(400):
        rows = rng.integers(0, 60, 60)
        scores = [f1_score(LABELS[rows], one.predicted[rows], average="macro", zero_division=0) for one in (a, b)]
        differences.append(scores[1] - scores[0])
    assert [row["low"], row["high"]] == pytest.approx(np.quantile(differences, [0.025, 0.975]), abs=0.025)


def test_the_images_of_which_the_other_was_surest_come_first():
    p = np.array([[0.9, 0.05, 0.05]] * 3)
    mistaken = np.array([[0.2, 0.5, 0.3], [0.1, 0.8, 0.1], [0.2, 0.6, 0.2]])
    labels = np.zeros(3, int)
    assert versus.versus(Answers(labels, p), Answers(labels, mistaken), 10, 0).only_a.tolist() == [1, 2, 0]


def test_the_verdict_in_words():
    a, b = answers(LABELS, with_mistakes(list(range(12)))), answers(LABELS, LABELS)
    said = versus.verdict(versus.versus(a, b, 10, 0), "slow", "fast")
    assert said.startswith("fast is better than slow, by 20.00 percentage points of test accuracy (+")
    assert said.endswith("p = 0.00049: 0 images only slow recognises, 12 only fast).")
    assert versus.verdict(versus.versus(b, a, 10, 0), "fast", "slow").startswith("fast is better than slow, by 20.00")
    other = versus.verdict(versus.versus(b, a, 10, 0), "fast", "slow")
    assert other.partition("(")[2].partition(",")[0] == said.partition("(")[2].partition(",")[0]  # of the better one
    near = versus.versus(answers(LABELS, with_mistakes([0])), answers(LABELS, with_mistakes([1, 2])), 10, 0)
    assert versus.verdict(near, "A", "B").startswith("A and B do not differ by more than chance: -1.67 percentage")
    assert versus.verdict(versus.versus(b, b, 10, 0), "A", "B") == "A and B recognise the same test images."


def test_maps_agree_with_themselves_and_not_with_their_negative():
    maps = np.random.default_rng(0).normal(size=(2, 10, 10))
    same = versus.agreement(maps, maps)
    assert same["rank_correlation"].tolist() == pytest.approx([1, 1])
    assert same["top_overlap"].tolist() == [1, 1]
    assert same["overlap_by_chance"].tolist() == [0.1, 0.1]
    opposite = versus.agreement(maps, -maps)
    assert opposite["rank_correlation"].tolist() == pytest.approx([-1, -1])
    assert opposite["top_overlap"].tolist() == [1, 1]  # by size
