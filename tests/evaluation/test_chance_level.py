import numpy as np
import pytest

from glassbox.evaluation import chance_level

CLASSES = ("Free", "Crack", "Fray")


def answers(counts: tuple[int, ...], right: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Labels with so many images of each class, of which so many are recognised; the rest are taken for the next."""
    labels = np.repeat(np.arange(len(counts)), counts)
    known = np.concatenate([np.arange(n) < k for n, k in zip(counts, right, strict=True)])
    return labels, np.where(known, labels, (labels + 1) % len(counts))


def test_balanced_accuracy_and_the_largest_class_by_hand():
    m = chance_level.measure(*answers((71, 19, 10), (60, 9, 1)), CLASSES, 0.95)
    assert m["balanced_accuracy"] == pytest.approx((60 / 71 + 9 / 19 + 1 / 10) / 3)
    assert (m["majority_class"], m["majority_share"]) == ("Free", 0.71)
    assert (m["smallest_class"], m["smallest_class_images"]) == ("Fray", 10)
    assert (m["only_model"], m["only_majority"]) == (10, 11)  # accuracy 70 %, of the rule 71 %
    assert m["majority_p"] == 1.0
    p = np.array([60 + 2 / 3, 9 + 2 / 3, 1 + 2 / 3]) / (np.array([71, 19, 10]) + 4 / 3)
    half = 1.959964 * np.sqrt((p * (1 - p) / (np.array([71, 19, 10]) + 4 / 3)).sum()) / 3
    assert m["balanced_accuracy_low"] == pytest.approx(p.mean() - half)
    assert m["balanced_accuracy_high"] == pytest.approx(p.mean() + half)


def test_of_one_class_two_right_and_two_wrong_answers_are_added():
    low, high = chance_level.balanced_interval(np.array([8]), np.array([10]), 0.95)
    half = 1.959964 * (10 / 14 * 4 / 14 / 14) ** 0.5
    assert (low, high) == pytest.approx((10 / 14 - half, 10 / 14 + half))


RULE = "always answering Free, 71.0 % of the test images"
TIED = f"It is not shown to do better than {RULE} (McNemar's exact test, p = 1: "


@pytest.mark.parametrize(
    ("right", "outcome", "sentence"),
    [
        ((60, 9, 1), "undecided", f"{TIED}10 images only the model recognises, 11 only that rule)."),
        ((70, 1, 0), "undecided", f"{TIED}1 image only the model recognises, 1 only that rule)."),
        (
            (70, 17, 8),
            "better",
            f"It does better than {RULE} (McNemar's exact test, p = 8e-07: 25 images only the model recognises, 1 only "
            "that rule).",
        ),
        (
            (40, 5, 3),
            "worse",
            f"It does worse than {RULE} (McNemar's exact test, p = 0.00029: 8 images only the model recognises, 31 "
            "only that rule).",
        ),
    ],
)
def test_three_outcomes_and_their_sentences(right, outcome, sentence):
    m = chance_level.measure(*answers((71, 19, 10), right), CLASSES, 0.95)
    assert m["against_majority"] == outcome
    assert chance_level.sentence(m) == sentence


def test_a_class_with_few_images_leaves_no_interval_and_is_named():
    m = chance_level.measure(*answers((71, 19, 7), (60, 9, 1)), CLASSES, 0.95)
    assert m["balanced_accuracy_low"] is m["balanced_accuracy_high"] is None
    assert chance_level.balanced(m) == "48.72 % (no interval: Fray has 7 images, and it takes 8 of each class)"
    labels, predicted = answers((71, 19), (60, 9))
    m = chance_level.measure(labels, predicted, CLASSES, 0.95)  # a class without test images counts for nothing
    assert m["balanced_accuracy"] == pytest.approx((60 / 71 + 9 / 19) / 2)
    assert m["smallest_class"] == "Crack"
    assert chance_level.balanced(m).startswith("65.94 % (interval 54.10 to 77.09 %)")


def test_numbers_leave_out_what_is_none():
    m = chance_level.measure(*answers((71, 19, 7), (60, 9, 1)), CLASSES, 0.95)
    assert {"majority_share", "balanced_accuracy"} <= chance_level.numbers(m).keys()
    assert not {"majority_class", "against_majority", "balanced_accuracy_low"} & chance_level.numbers(m).keys()


SHARES = [
    (0.9, 0.1),
    (0.7, 0.3),
    (0.5, 0.3, 0.2),
    (0.8, 0.15, 0.05),
    (0.6, 0.1, 0.1, 0.1, 0.05, 0.05),
    (0.37, *[0.07] * 9),
]


@pytest.mark.parametrize("n", [30, 60, 100, 300, 1000])
def test_the_interval_covers_on_imbalanced_cases(n):
    """Coverage of the 95 % interval over classes of unlike sizes and recalls, each of `FEWEST` images at least.

    Nearer to recalls of 1 it is higher still, for there are few mistakes.
    """
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
