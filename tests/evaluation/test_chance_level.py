import numpy as np
import pytest

from glassbox.evaluation import chance_level

CLASSES = ("Free", "Crack", "Fray")


def measured(counts: tuple[int, ...], right: tuple[int, ...]) -> dict:
    """With so many images of each class, of which so many are recognised; the others are taken for the next class."""
    labels = np.repeat(np.arange(len(counts)), counts)
    known = np.concatenate([np.arange(n) < k for n, k in zip(counts, right, strict=True)])
    predicted = np.where(known, labels, (labels + 1) % len(counts))
    return chance_level.measure(labels, predicted, CLASSES, 0.95)


def test_balanced_accuracy_and_the_largest_class_by_hand():
    m = measured((71, 19, 10), (60, 9, 1))
    assert m["balanced_accuracy"] == pytest.approx((60 / 71 + 9 / 19 + 1 / 10) / 3)
    assert (m["majority_class"], m["majority_share"]) == ("Free", 0.71)
    assert (m["smallest_class"], m["smallest_class_images"]) == ("Fray", 10)
    assert (m["only_model"], m["only_majority"]) == (10, 11)  # accuracy 70 %, of the rule 71 %
    assert m["majority_p"] == 1.0
    p = np.array([60 + 2 / 3, 9 + 2 / 3, 1 + 2 / 3]) / (np.array([71, 19, 10]) + 4 / 3)
    half = 1.959964 * np.sqrt((p * (1 - p) / (np.array([71, 19, 10]) + 4 / 3)).sum()) / 3
    assert m["balanced_accuracy_low"] == pytest.approx(p.mean() - half)
    assert m["balanced_accuracy_high"] == pytest.approx(p.mean() + half)


def test_for_one_class_two_right_and_two_wrong_answers_are_added():
    half = 1.959964 * (10 / 14 * 4 / 14 / 14) ** 0.5
    ends = chance_level.balanced_interval(np.array([8]), np.array([10]), 0.95)
    assert ends == pytest.approx((10 / 14 - half, 10 / 14 + half))


@pytest.mark.parametrize(
    ("right", "outcome", "start", "test"),
    [
        ((60, 9, 1), "undecided", "It is not shown to do better", "p = 1: 10 images only the model recognises, 11"),
        ((70, 1, 0), "undecided", "It is not shown to do better", "p = 1: 1 image only the model recognises, 1"),
        ((70, 17, 8), "better", "It does better", "p = 8e-07: 25 images only the model recognises, 1"),
        ((40, 5, 3), "worse", "It does worse", "p = 0.00029: 8 images only the model recognises, 31"),
    ],
)
def test_three_outcomes_and_their_sentences(right, outcome, start, test):
    m = measured((71, 19, 10), right)
    assert m["against_majority"] == outcome
    assert chance_level.sentence(m) == (
        f"{start} than always answering Free, 71.0 % of the test images (McNemar's exact test, {test} only that rule)."
    )


def test_a_class_with_few_images_leaves_no_interval_and_is_named():
    m = measured((71, 19, 7), (60, 9, 1))
    assert m["balanced_accuracy_low"] is m["balanced_accuracy_high"] is None
    assert chance_level.balanced(m) == "48.72 % (no interval: Fray has 7 images, and it takes 8 of each class)"
    assert {"majority_share", "balanced_accuracy"} <= chance_level.numbers(m).keys()
    assert not {"majority_class", "against_majority", "balanced_accuracy_low"} & chance_level.numbers(m).keys()
    m = measured((71, 19), (60, 9))  # a class without test images counts for nothing
    assert m["balanced_accuracy"] == pytest.approx((60 / 71 + 9 / 19) / 2)
    assert m["smallest_class"] == "Crack"
    assert chance_level.balanced(m).startswith("65.94 % (interval 54.10 to 77.09 %)")


TWO, THREE = [(0.9, 0.1), (0.7, 0.3)], [(0.5, 0.3, 0.2), (0.8, 0.15, 0.05)]
SHARES = [*TWO, *THREE, (0.6, 0.1, 0.1, 0.1, 0.05, 0.05), (0.37, *[0.07] * 9)]  # of the images, by class


@pytest.mark.parametrize("n", [30, 60, 100, 300, 1000])
def test_the_interval_covers_on_imbalanced_cases(n):
    """Classes have different sizes, `FEWEST` images at least, and recalls; nearer to 1 the coverage is higher still."""
    rng, draws = np.random.default_rng(n), 20_000
    covered = []
    for shares in SHARES:
        counts = np.round(np.array(shares) * n).astype(int)
        if counts.min() < chance_level.FEWEST:
            continue
        k = len(counts)
        for recalls in (np.full(k, 0.5), np.full(k, 0.85), np.linspace(0.9, 0.3, k), np.linspace(0.3, 0.9, k)):
            right = rng.binomial(counts, recalls, (draws, k))
            low, high = chance_level.balanced_interval(right, counts, 0.95)
            covered.append(((low <= recalls.mean()) & (recalls.mean() <= high)).mean())
    assert covered
    assert min(covered) >= 0.92, covered
    assert max(covered) <= 0.983, covered
