"""Comparisons of repaired networks with their rivals, and what is said of them."""

import re

import numpy as np
import pytest
import scipy

from glassbox.repair import proof
from glassbox.repair.proof import CLEAN, ELSEWHERE, MORE, MOVED, ORIGINAL, WORST, Answers

N = 200
LABELS = np.arange(N) % 4


def answers_with(right: float, seed: int) -> np.ndarray:
    """Predictions of which about so large a share is right."""
    rng = np.random.default_rng(seed)
    wrong = rng.random(N) >= right
    return np.where(wrong, (LABELS + 1) % 4, LABELS)


def some(repeats: int = 5, clean: float = 0.95, **moved: float) -> Answers:
    shares = {"randomise": 0.9, "more": 0.4, "elsewhere": 0.4} | moved
    arms = {"randomise": "randomise", "more": MORE, "elsewhere": f"randomise {ELSEWHERE}"}
    trained = {
        arm: [
            {CLEAN: answers_with(clean if name == "randomise" else 0.95, 50 + repeat),
             MOVED: answers_with(shares[name], 100 * place + repeat)}
            for repeat in range(repeats)
        ]
        for place, (name, arm) in enumerate(arms.items())
    }  # fmt: skip
    return Answers(LABELS, {CLEAN: answers_with(0.95, 50), MOVED: answers_with(0.4, 999)}, trained)


def judged(answers: Answers, still_found: bool = False) -> dict:
    table = proof.compared(proof.pairs(answers, ["randomise"]), N)
    return proof.verdict(table, "randomise", still_found)


def test_pairs_by_hand():
    labels = np.array([0, 0, 1, 1])
    original = {CLEAN: np.array([0, 0, 1, 1]), MOVED: np.array([0, 1, 0, 0])}
    after = {CLEAN: np.array([0, 0, 1, 0]), MOVED: np.array([0, 0, 1, 0])}
    trained = {"paste": [after], MORE: [original], f"paste {ELSEWHERE}": [after]}
    table = proof.pairs(Answers(labels, original, trained), ["paste"]).set_index(["against", "measure"])
    row = table.loc[(MORE, MOVED)]
    assert (row["value"], row["value_against"]) == (0.75, 0.25)
    assert (row["only_repaired"], row["only_against"], row["p"]) == (2, 0, 0.5)
    # The worst group: of the repaired one half of class 1; of the original no image of class 1 with the mark moved.
    assert tuple(table.loc[(ORIGINAL, WORST), ["value", "value_against"]]) == (0.5, 0)
    assert (table.loc[ELSEWHERE, "value"] == table.loc[ELSEWHERE, "value_against"]).all()


def test_the_interval_over_repeats_is_students():
    differences = np.random.default_rng(0).normal(0.1, 0.05, 8)
    mean, low, high, p = proof.over_repeats(differences, 1000)
    expected = scipy.stats.ttest_1samp(differences, 0)
    assert p == pytest.approx(expected.pvalue)
    assert (low, high) == pytest.approx(tuple(expected.confidence_interval()))
    assert mean == differences.mean()


def test_equal_differences_are_not_certain():
    _, low, high, p = proof.over_repeats(np.full(5, 0.001), 100)
    assert low < 0 < high
    assert p > 0.05
    assert np.isnan(proof.over_repeats(np.array([0.5]), 100)[1:]).all()


def test_a_repair_that_beats_all_three_is_fixed():
    verdict = judged(some())
    assert (verdict["outcome"], verdict["reasons"]) == ("fixed", [])
    assert verdict["sentence"].startswith("randomise: fixed. With the shortcut on the wrong classes accuracy is ")
    assert re.search(
        r" %, on clean images 9\d\.\d % instead of 9\d\.\d % \(means over 5 repeats\)\.$", verdict["sentence"]
    )
    assert all("McNemar's p < 0.05 in 5 of 5" in one for one in verdict["evidence"][:3])
    assert len(verdict["evidence"]) == 5


@pytest.mark.parametrize(
    ("changes", "still_found", "outcome", "reason"),
    [
        ({"elsewhere": 0.9}, False, "helped, not proven", "not shown to be better than the same repair at random"),
        ({}, True, "helped, not proven", "a repaired network still leans on it"),
        ({"clean": 0.8}, False, "helped, not proven", "the accuracy on clean images is more than 1 point lower"),
        ({"more": 0.9}, False, "no better than more training", "not shown to be better than as many further epochs"),
        ({"randomise": 0.4}, False, "no better than more training", "not shown to be better than the original"),
        ({"randomise": 0.1}, False, "no better than more training", "not shown to be better than the original"),
    ],
)
def test_one_failed_condition_is_not_fixed(changes, still_found, outcome, reason):
    verdict = judged(some(**changes), still_found)
    assert verdict["outcome"] == outcome
    assert any(one.startswith(reason) for one in verdict["reasons"])
    assert reason in verdict["sentence"]


def test_repairs_without_an_effect_are_seldom_called_better():
    """Of 200 repairs that change nothing, few are better than more training: 5 % at most, but for chance."""
    outcomes = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        arms = ("randomise", MORE, f"randomise {ELSEWHERE}")
        answers = Answers(
            LABELS,
            {name: answers_with(0.5, int(rng.integers(1e9))) for name in (CLEAN, MOVED)},
            {
                arm: [{name: answers_with(0.5, int(rng.integers(1e9))) for name in (CLEAN, MOVED)} for _ in range(5)]
                for arm in arms
            },
        )
        outcomes.append(judged(answers)["outcome"])
    assert outcomes.count("fixed") == 0
    assert outcomes.count("helped, not proven") <= 10


def test_holms_correction_counts_all_ways():
    one, both = some(), some()
    both.trained["paste"] = both.trained["randomise"]
    both.trained[f"paste {ELSEWHERE}"] = both.trained[f"randomise {ELSEWHERE}"]
    few = proof.compared(proof.pairs(one, ["randomise"]), N)
    many = proof.compared(proof.pairs(both, ["randomise", "paste"]), N)
    first = (few["measure"] == MOVED).to_numpy().nonzero()[0]
    assert (many["p_holm"].iloc[first].to_numpy() > few["p_holm"].iloc[first].to_numpy()).all()
    assert few["p_holm"].notna().sum() == 3
