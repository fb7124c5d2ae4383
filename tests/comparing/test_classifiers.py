import re
from collections.abc import Iterable

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score

from glassbox.comparing import classifiers
from glassbox.comparing.classifiers import Answers
from glassbox.statistics import bootstrap, paired


def answers(labels: np.ndarray, predicted: np.ndarray, sure: float | np.ndarray = 0.9) -> Answers:
    """Of three classes, the predicted one with probability `sure`, of all images or of each."""
    p = np.repeat((1 - np.broadcast_to(sure, labels.shape)[:, None]) / 2, 3, axis=1)
    p[np.arange(len(labels)), predicted] = sure
    return Answers(labels, p)


LABELS = np.array([0, 1, 2] * 20)


MANY = np.array([0, 1, 2] * 120)  # enough for every test


def with_mistakes(rows: Iterable[int], labels: np.ndarray = LABELS) -> np.ndarray:
    predicted, rows = labels.copy(), list(rows)
    predicted[rows] = (predicted[rows] + 1) % 3
    return predicted


def test_differences_by_hand():
    a, b = answers(LABELS, with_mistakes([0, 1, 2, 3, 4, 5, 6, 7])), answers(LABELS, with_mistakes([7, 8]), sure=0.8)
    found = classifiers.versus(a, b, 10, 0)
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
    assert rows.loc["accuracy", "p"] == paired.mcnemar(1, 7)
    assert found.right == (52, 58)
    assert found.matrix.sum() == 0
    assert found.matrix[0].tolist() == [3 - 0, -3, 0]  # rows 0, 3, 6 of class 0 are no longer taken for class 1


def outcomes(a: Answers, b: Answers) -> dict[str, str]:
    return classifiers.versus(a, b, 10, 0).metrics.set_index("metric")["outcome"].to_dict()


def test_better_and_worse_hang_on_the_direction_of_the_metric():
    worse, better = answers(MANY, with_mistakes(range(20), MANY), sure=0.8), answers(MANY, MANY)
    tested = ("accuracy", "macro_f1", "log_loss", "brier")
    assert outcomes(worse, better) == dict.fromkeys(tested, "better") | {"ece": "not tested"}
    assert outcomes(better, worse) == dict.fromkeys(tested, "worse") | {"ece": "not tested"}
    assert outcomes(better, better) == {
        "accuracy": "undecided",
        "macro_f1": "undecided",
        "log_loss": "not tested",
        "brier": "not tested",
        "ece": "not tested",
    }


def test_log_loss_and_brier_are_tested_only_on_images_enough():
    for n, log_loss, brier in (
        (39, "not tested", "not tested"),
        (40, "not tested", "better"),
        (300, "better", "better"),
    ):
        labels = MANY[:n]
        found = outcomes(answers(labels, labels, sure=0.6), answers(labels, labels, sure=0.6 + 0.01 * (labels + 1)))
        assert (found["log_loss"], found["brier"]) == (log_loss, brier)


def test_a_difference_on_a_few_images_of_many_is_not_tested():
    first, second = verdict(answers(MANY, with_mistakes(range(39), MANY)), answers(MANY, MANY))
    assert "fast is better than slow in test accuracy" in first
    assert second.endswith(
        "; log loss (which needs 300 images that differ in it) and Brier score (which needs 40 images that differ in "
        "it) are not tested."
    )
    rows = classifiers.versus(answers(MANY, with_mistakes(range(39), MANY)), answers(MANY, MANY), 10, 0).metrics
    assert rows.set_index("metric").loc[["log_loss", "brier"], ["low", "high", "p", "p_holm"]].isna().all(axis=None)
    assert outcomes(answers(MANY, with_mistakes(range(40), MANY)), answers(MANY, MANY))["brier"] == "better"


def test_p_values_are_corrected_for_the_metrics_that_are_tested():
    table = pd.DataFrame(
        {
            "metric": ["accuracy", "macro_f1", "log_loss", "brier", "ece"],
            "difference": [0.1, -0.1, -0.1, 0.1, 0.5],
            "p": [0.04, 0.01, 0.012, 0.03, np.nan],
        }
    )
    found = classifiers.with_outcomes(table)
    assert found["p_holm"].tolist()[:4] == pytest.approx([0.06, 0.04, 0.04, 0.06])  # 4, 3, 2, 1 times, never falling
    assert found["outcome"].tolist() == ["undecided", "worse", "better", "undecided", "not tested"]
    fewer = classifiers.with_outcomes(table.assign(p=[0.04, np.nan, np.nan, np.nan, np.nan]))
    assert fewer["p_holm"][0] == 0.04
    assert fewer["outcome"].tolist() == ["better", *["not tested"] * 4]


def test_the_images_of_which_the_other_was_surest_come_first():
    p = np.array([[0.9, 0.05, 0.05]] * 3)
    mistaken = np.array([[0.2, 0.5, 0.3], [0.1, 0.8, 0.1], [0.2, 0.6, 0.2]])
    labels = np.zeros(3, int)
    assert classifiers.versus(Answers(labels, p), Answers(labels, mistaken), 10, 0).only_a.tolist() == [1, 2, 0]


def verdict(a: Answers, b: Answers) -> list[str]:
    return classifiers.verdict(classifiers.versus(a, b, 10, 0), "slow", "fast")


def test_the_verdict_where_accuracy_differs():
    a, b = answers(LABELS, with_mistakes(list(range(12)))), answers(LABELS, LABELS)
    p = classifiers.versus(a, b, 10, 0).metrics.set_index("metric").loc["accuracy", "p_holm"]
    first, second = verdict(a, b)
    low, high = paired.accuracy_interval(0, 12, 60)
    assert first.startswith(
        "On the same 60 test images slow is right on 48 and fast on 60; fast is better than slow in test accuracy, by "
        f"20.00 percentage points, 95 % interval [{100 * low:.2f}, {100 * high:.2f}] (McNemar's exact test on the 12 "
        "images that only one of them recognises, p = "
    )
    assert first.endswith(f" {p:.2g} after Holm's correction).")
    assert second.startswith("After Holm's correction for 2 tests fast is better in macro F1 (higher by 0.2")
    assert second.endswith(" are not tested.")
    other, _ = verdict(b, a)
    assert "; slow is better than fast in test accuracy, by 20.00 percentage points" in other
    assert other.partition("[")[2] == first.partition("[")[2]  # both by the size of the difference


def test_two_discordant_images_cannot_reject_and_the_verdict_says_so():
    for a_wrong, b_wrong in (([], [0, 1]), ([0], [1]), ([0, 1], [])):
        a = answers(MANY, with_mistakes(a_wrong, MANY), sure=0.9)
        b = answers(MANY, with_mistakes(b_wrong, MANY), sure=0.9 + 0.01 * (-1) ** np.arange(360))
        found = verdict(a, b)
        assert found[0] == (
            f"On the same 360 test images slow is right on {360 - len(a_wrong)} and fast on {360 - len(b_wrong)}; test "
            "accuracy is undecided: McNemar's exact test on the 2 images that only one of them recognises, which "
            "cannot reject (at least 6 are needed at 5 %)."
        )
        assert found[1] == "After Holm's correction for 4 tests macro F1, log loss and Brier score are undecided."
        assert found[2:] == [
            "At this rate of disagreement (2 of 360 images) about 1,080 test images would give 6 such images."
        ]


def test_an_undecided_accuracy_never_hides_another_metric():
    a = answers(MANY, with_mistakes([0, 1], MANY), sure=0.8)
    b = answers(MANY, with_mistakes([2, 3], MANY), sure=0.9)
    first, second, _ = verdict(a, b)
    assert "accuracy is undecided" in first
    assert second.startswith("After Holm's correction for 4 tests fast is better in log loss (lower by 0.1")
    assert " and Brier score (lower by 0.0" in second
    assert second.endswith("; macro F1 is undecided.")
    assert verdict(b, a)[1] == second.replace("fast", "slow")


def test_no_verdict_says_that_two_do_not_differ():
    rng = np.random.default_rng(0)
    for mistakes in (0, 1, 3, 10, 40):
        a, b = (answers(MANY, with_mistakes(rng.permutation(360)[:mistakes], MANY), sure=0.9 + s / 50) for s in (0, 1))
        said = " ".join(verdict(a, b))
        assert not re.search("differ by|more than chance|the same (accuracy|metric)|equal", said), said


def test_the_verdict_says_what_could_have_been_found():
    a, b = answers(MANY, with_mistakes(range(10), MANY)), answers(MANY, with_mistakes(range(10, 20), MANY))
    first, _, third = verdict(a, b)
    assert first.endswith(
        "McNemar's exact test on the 20 images that only one of them recognises, p = 1 after Holm's correction."
    )
    points = 100 * paired.smallest_difference(20, 360)
    assert third == (
        f"At this rate of disagreement (20 of 360 images) a true difference of less than {points:.1f} percentage "
        "points is found in fewer than 80 % of test sets of this size."
    )


def test_the_same_classes_by_other_probabilities():
    first, second = verdict(answers(MANY, MANY, sure=0.8), answers(MANY, MANY, sure=0.9))
    assert first == (
        "On the same 360 test images slow is right on 360 and fast on 360; test accuracy is undecided: there is no "
        "image that only one of them recognises, and McNemar's exact test needs 6 to reject."
    )
    assert "fast is better in log loss" in second


def test_the_same_probabilities():
    assert verdict(answers(MANY, MANY), answers(MANY, MANY)) == [
        "On the same 360 test images slow and fast give the same probabilities: every metric is the same, and there is "
        "nothing to test."
    ]


def test_the_intervals_of_means_are_those_of_the_bootstrap(monkeypatch):
    monkeypatch.setattr(bootstrap, "interval", lambda values, seed: (values.mean() - 1, values.mean() + 1))
    rows = classifiers.versus(answers(MANY, MANY, sure=0.8), answers(MANY, MANY), 10, 0).metrics.set_index("metric")
    for metric in ("log_loss", "brier"):
        ends = rows.loc[metric, ["low", "high"]].to_numpy(float)
        assert ends == pytest.approx([rows.loc[metric, "difference"] - 1, rows.loc[metric, "difference"] + 1])
    monkeypatch.setattr(bootstrap, "interval", lambda values, seed: (np.nan, np.nan))  # too few values
    second = verdict(answers(MANY, MANY, sure=0.8), answers(MANY, MANY))[1]
    assert "fast is better in log loss (lower by 0.1178) and Brier score" in second


def test_maps_agree_with_themselves_and_not_with_their_negative():
    maps = np.random.default_rng(0).normal(size=(2, 10, 10))
    same = classifiers.agreement(maps, maps)
    assert same["rank_correlation"].tolist() == pytest.approx([1, 1])
    assert same["top_overlap"].tolist() == [1, 1]
    assert same["overlap_by_chance"].tolist() == [0.1, 0.1]
    opposite = classifiers.agreement(maps, -maps)
    assert opposite["rank_correlation"].tolist() == pytest.approx([-1, -1])
    assert opposite["top_overlap"].tolist() == [1, 1]  # by size
