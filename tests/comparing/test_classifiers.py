import re
from collections.abc import Iterable

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score

from glassbox.comparing import classifiers
from glassbox.comparing.classifiers import Answers
from glassbox.statistics import bootstrap, paired

LABELS = np.array([0, 1, 2] * 120)  # enough for every test


def answers(mistakes: Iterable[int] = (), sure: float | np.ndarray = 0.9, images: int = 360) -> Answers:
    """Predictions of three classes, wrong in the rows `mistakes`, with the probability `sure` of the predicted one."""
    labels, rows = LABELS[:images], list(mistakes)
    predicted = labels.copy()
    predicted[rows] = (predicted[rows] + 1) % 3
    p = np.repeat((1 - np.broadcast_to(sure, images)[:, None]) / 2, 3, axis=1)
    p[np.arange(images), predicted] = sure
    return Answers(labels, p)


def versus(a: Answers, b: Answers) -> tuple[classifiers.Versus, pd.DataFrame]:
    """The comparison, and its metrics by name."""
    found = classifiers.versus(a, b, 10, 0)
    return found, found.metrics.set_index("metric")


def verdict(a: Answers, b: Answers) -> list[str]:
    return classifiers.verdict(versus(a, b)[0], "slow", "fast")


def test_differences_by_hand():
    a, b = answers(range(8), images=60), answers([7, 8], sure=0.8, images=60)
    found, rows = versus(a, b)
    assert rows.loc["accuracy", ["a", "b", "difference"]].tolist() == pytest.approx([52 / 60, 58 / 60, 6 / 60])
    assert rows.loc["accuracy", "low"] < 6 / 60 < rows.loc["accuracy", "high"]
    assert rows.loc["macro_f1", "a"] == pytest.approx(f1_score(a.labels, a.predicted, average="macro"))
    assert rows.loc["macro_f1", "b"] == pytest.approx(f1_score(a.labels, b.predicted, average="macro"))
    assert rows.loc["brier", "a"] == pytest.approx((52 * (0.01 + 2 * 0.0025) + 8 * (0.81 + 0.9025 + 0.0025)) / 60)
    assert rows.loc["log_loss", "b"] == pytest.approx(-(58 * np.log(0.8) + 2 * np.log(0.1)) / 60)
    assert rows.loc["ece", "a"] == pytest.approx(abs(0.9 - 52 / 60))
    assert sorted(found.only_b) == [0, 1, 2, 3, 4, 5, 6]
    assert found.only_a.tolist() == [8]
    assert rows.loc["accuracy", "p"] == paired.mcnemar(1, 7)
    assert found.right == (52, 58)
    assert found.matrix.sum() == 0
    assert found.matrix[0].tolist() == [3 - 0, -3, 0]  # rows 0, 3, 6 of class 0 are no longer predicted as class 1


def test_better_and_worse_depend_on_the_direction_of_the_metric():
    worse, better = answers(range(20), sure=0.8), answers()
    tested = ["accuracy", "macro_f1", "log_loss", "brier"]
    for a, b, outcome in ((worse, better, "better"), (better, worse, "worse")):
        assert versus(a, b)[1]["outcome"].to_dict() == dict.fromkeys(tested, outcome) | {"ece": "not tested"}
    same = versus(better, better)[1]["outcome"]
    assert same.tolist() == ["undecided", "undecided", "not tested", "not tested", "not tested"]


@pytest.mark.parametrize(
    ("images", "log_loss", "brier"),
    [(39, "not tested", "not tested"), (40, "not tested", "better"), (300, "better", "better")],
)
def test_log_loss_and_brier_are_tested_only_on_enough_images_that_differ(images, log_loss, brier):
    labels = LABELS[:images]
    few = answers(sure=0.6, images=images), answers(sure=0.6 + 0.01 * (labels + 1), images=images)
    differ = answers(range(images)), answers()  # so many of 360
    for a, b in (few, differ):
        rows = versus(a, b)[1].loc[["log_loss", "brier"]]
        assert rows["outcome"].tolist() == [log_loss, brier]
        untested = rows[rows["outcome"] == "not tested"]
        assert untested[["low", "high", "p", "p_holm"]].isna().all(axis=None)


def test_p_values_are_corrected_for_the_metrics_that_are_tested():
    table = pd.DataFrame(
        {
            "metric": ["accuracy", "macro_f1", "log_loss", "brier", "ece"],
            "difference": [0.1, -0.1, -0.1, 0.1, 0.5],
            "p": [0.04, 0.01, 0.012, 0.03, np.nan],
        }
    )
    corrected = classifiers.with_outcomes(table)
    assert corrected["p_holm"].tolist()[:4] == pytest.approx([0.06, 0.04, 0.04, 0.06])  # 4, 3, 2, 1 times, not falling
    assert corrected["outcome"].tolist() == ["undecided", "worse", "better", "undecided", "not tested"]
    fewer = classifiers.with_outcomes(table.assign(p=[0.04, np.nan, np.nan, np.nan, np.nan]))
    assert fewer["p_holm"][0] == 0.04
    assert fewer["outcome"].tolist() == ["better", *["not tested"] * 4]


def test_the_images_of_which_the_other_was_surest_come_first():
    right = Answers(np.zeros(3, int), np.array([[0.9, 0.05, 0.05]] * 3))
    mistaken = Answers(right.labels, np.array([[0.2, 0.5, 0.3], [0.1, 0.8, 0.1], [0.2, 0.6, 0.2]]))
    assert versus(right, mistaken)[0].only_a.tolist() == [1, 2, 0]


def test_the_verdict_if_accuracy_differs():
    a, b = answers(range(12), images=60), answers(images=60)
    first, second = verdict(a, b)
    low, high = paired.accuracy_interval(0, 12, 60)
    assert first == (
        "On the same 60 test images slow is right on 48 and fast on 60; fast is better than slow in test accuracy, by "
        f"20.00 percentage points, 95 % interval [{100 * low:.2f}, {100 * high:.2f}] (McNemar's exact test on the 12 "
        "images that only one of them recognises, p = "
        f"{versus(a, b)[1].loc['accuracy', 'p_holm']:.2g} after Holm's correction)."
    )
    assert second.startswith("After Holm's correction for 2 tests fast is better in macro F1 (higher by 0.2")
    assert second.endswith(
        "; log loss (which needs 300 images that differ in it) and Brier score (which needs 40 images that differ in "
        "it) are not tested."
    )
    reversed_first, _ = verdict(b, a)
    assert "; slow is better than fast in test accuracy, by 20.00 percentage points" in reversed_first
    assert reversed_first.partition("[")[2] == first.partition("[")[2]  # both by the size of the difference


@pytest.mark.parametrize(("a_wrong", "b_wrong"), [([], [0, 1]), ([0], [1]), ([0, 1], [])])
def test_the_verdict_if_two_discordant_images_cannot_reject(a_wrong, b_wrong):
    assert verdict(answers(a_wrong), answers(b_wrong, sure=0.9 + 0.01 * (-1) ** np.arange(360))) == [
        f"On the same 360 test images slow is right on {360 - len(a_wrong)} and fast on {360 - len(b_wrong)}; test "
        "accuracy is undecided: McNemar's exact test on the 2 images that only one of them recognises, which "
        "cannot reject (at least 6 are needed at 5 %).",
        "After Holm's correction for 4 tests macro F1, log loss and Brier score are undecided.",
        "At this rate of disagreement (2 of 360 images) about 1,080 test images would give 6 such images.",
    ]


def test_an_undecided_accuracy_never_hides_another_metric():
    a, b = answers([0, 1], sure=0.8), answers([2, 3])
    first, second, _ = verdict(a, b)
    assert "accuracy is undecided" in first
    assert second.startswith("After Holm's correction for 4 tests fast is better in log loss (lower by 0.1")
    assert " and Brier score (lower by 0.0" in second
    assert second.endswith("; macro F1 is undecided.")
    assert verdict(b, a)[1] == second.replace("fast", "slow")


def test_no_verdict_claims_equality():
    rng = np.random.default_rng(0)
    for mistakes in (0, 1, 3, 10, 40):
        a, b = (answers(rng.permutation(360)[:mistakes], sure=sure) for sure in (0.9, 0.92))
        text = " ".join(verdict(a, b))
        assert not re.search("differ by|more than chance|the same (accuracy|metric)|equal", text), text


def test_the_verdict_names_the_difference_that_could_have_been_found():
    first, _, third = verdict(answers(range(10)), answers(range(10, 20)))
    assert first.endswith(
        "McNemar's exact test on the 20 images that only one of them recognises, p = 1 after Holm's correction."
    )
    points = 100 * paired.smallest_difference(20, 360)
    assert third == (
        f"At this rate of disagreement (20 of 360 images) a true difference of less than {points:.1f} percentage "
        "points is found in fewer than 80 % of test sets of this size."
    )


def test_the_verdict_on_equal_classes_or_probabilities():
    first, second = verdict(answers(sure=0.8), answers())
    assert first == (
        "On the same 360 test images slow is right on 360 and fast on 360; test accuracy is undecided: there is no "
        "image that only one of them recognises, and McNemar's exact test needs 6 to reject."
    )
    assert "fast is better in log loss" in second
    assert verdict(answers(), answers()) == [
        "On the same 360 test images slow and fast give the same probabilities: every metric is the same, and there is "
        "nothing to test."
    ]


def test_the_intervals_of_means_are_those_of_the_bootstrap(monkeypatch):
    monkeypatch.setattr(bootstrap, "interval", lambda values, seed: (values.mean() - 1, values.mean() + 1))
    rows = versus(answers(sure=0.8), answers())[1].loc[["log_loss", "brier"]]
    assert rows["low"].to_numpy() == pytest.approx(rows["difference"].to_numpy() - 1)
    assert rows["high"].to_numpy() == pytest.approx(rows["difference"].to_numpy() + 1)
    monkeypatch.setattr(bootstrap, "interval", lambda values, seed: (np.nan, np.nan))  # too few values
    second = verdict(answers(sure=0.8), answers())[1]
    assert "fast is better in log loss (lower by 0.1178) and Brier score" in second


@pytest.mark.parametrize("sign", [1, -1])
def test_maps_agree_with_themselves_and_not_with_their_negative(sign):
    maps = np.random.default_rng(0).normal(size=(2, 10, 10))
    table = classifiers.agreement(maps, sign * maps)
    assert table["rank_correlation"].tolist() == pytest.approx([sign, sign])
    assert table["top_overlap"].tolist() == [1, 1]  # by size
    assert table["overlap_by_chance"].tolist() == [0.1, 0.1]
