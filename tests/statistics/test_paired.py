from itertools import product

import numpy as np
import pytest
import scipy
from sklearn.metrics import f1_score

from glassbox.statistics import paired

LABELS = np.array([0, 1, 2] * 20)


def with_mistakes(rows: list[int]) -> np.ndarray:
    predicted = LABELS.copy()
    predicted[rows] = (predicted[rows] + 1) % 3
    return predicted


def test_mcnemar_by_hand():
    # 1 of 8 by a fair coin, both sides: 2 * (1 + 8) / 256.
    assert paired.mcnemar(1, 7) == paired.mcnemar(7, 1) == pytest.approx(18 / 256)
    assert paired.mcnemar(4, 4) == paired.mcnemar(0, 0) == 1
    # All on one side: 2 / 2^n.
    assert [paired.mcnemar(0, n) for n in (2, 5, 6)] == pytest.approx([2 / 4, 2 / 32, 2 / 64])
    assert paired.fewest_discordant() == 6


def test_the_smallest_detectable_difference_by_hand():
    # Of 6 the test rejects 6 : 0 alone: t^6 = 0.8 (0 : 6 adds 2e-9).
    t = 0.8 ** (1 / 6)
    assert paired.smallest_difference(6, 359) == pytest.approx((2 * t - 1) * 6 / 359, abs=1e-6)
    # Of 20 it rejects from 15 : 5 on (p = 0.041; 14 : 6 has 0.115).
    t = (1 + paired.smallest_difference(20, 359) * 359 / 20) / 2
    assert scipy.stats.binom.sf(14, 20, t) == pytest.approx(0.8, abs=1e-4)
    assert paired.smallest_difference(200, 3590) < paired.smallest_difference(20, 359)


def test_the_interval_of_the_accuracy_by_hand():
    # One image more on either side: (4 + 1) / 102 - (1 + 1) / 102, and the variance of a multinomial count.
    p, q = 2 / 102, 5 / 102
    half = 1.959964 * np.sqrt((p + q - (q - p) ** 2) / 102)
    assert paired.accuracy_interval(1, 4, 100) == pytest.approx((q - p - half, q - p + half))
    low, high = paired.accuracy_interval(0, 0, 100)
    assert -low == high > 0  # equal answers to 100 images do not prove equal accuracies


@pytest.mark.parametrize(("n", "p", "q"), [(50, 0.0, 0.02), (359, 0.003, 0.003), (359, 0.0, 0.02), (1000, 0.01, 0.03)])
def test_the_interval_of_the_accuracy_covers_with_few_discordant_images(n, p, q):
    """Exactly: over all possible counts, with their probabilities."""
    covered = 0.0
    for d in range(int(scipy.stats.binom.ppf(1 - 1e-7, n, p + q)) + 2):
        of_b = np.arange(d + 1)
        low, high = np.transpose([paired.accuracy_interval(d - k, k, n) for k in of_b])
        weights = scipy.stats.binom.pmf(d, n, p + q) * scipy.stats.binom.pmf(of_b, d, q / (p + q))
        covered += weights[(low <= q - p) & (q - p <= high)].sum()
    assert covered >= 0.94


def test_the_interval_of_shares_by_hand():
    # One image more of either sign: mean 1.5 / 5, mean square (1 + 0.25 + 2) / 5.
    half = 1.959964 * np.sqrt((3.25 / 5 - 0.3**2) / 5)
    assert paired.share_interval(np.array([1, 0.5, 0])) == pytest.approx((0.3 - half, 0.3 + half))
    for only_a, only_b, n in ((1, 4, 100), (0, 0, 7), (5, 0, 5)):
        differences = np.repeat([-1, 1, 0], [only_a, only_b, n - only_a - only_b])
        assert paired.share_interval(differences) == pytest.approx(paired.accuracy_interval(only_a, only_b, n))


@pytest.mark.parametrize("n", [3, 8, 20, 50])
@pytest.mark.parametrize(
    ("p", "by_chance"), [(0.0, 0.01), (0.02, 0.3), (0.3, 0.3), (0.5, 0.1), (0.95, 0.1), (1.0, 0.6)]
)
def test_the_interval_of_shares_covers_also_on_few_images(n, p, by_chance):
    """Differences of a hit, and of the share of eight random tries that hit."""
    rng, held = np.random.default_rng(0), 0
    for _ in range(400):
        low, high = paired.share_interval((rng.random(n) < p) - rng.binomial(8, by_chance, n) / 8)
        held += low <= p - by_chance <= high
    assert held >= 0.92 * 400


def test_macro_f1_is_that_of_scikit_learn():
    for rows in ([], [0, 1, 5], list(range(30))):
        expected = f1_score(LABELS, with_mistakes(rows), average="macro")
        assert paired.macro_f1(LABELS, with_mistakes(rows), 3) == pytest.approx(expected)
    assert paired.macro_f1(LABELS, LABELS, 4) == 0.75  # the fourth class has no label and no prediction


def test_the_influence_of_an_image_is_the_derivative_by_its_weight():
    predicted, step = with_mistakes([0, 1, 5, 7]), 1e-6
    score, influence = paired._macro_f1(LABELS, predicted, 3)
    for row in (0, 2, 4, 5):
        weights = np.full(60, 1 / 60 * (1 - step))
        weights[row] += step
        moved = f1_score(LABELS, predicted, average="macro", sample_weight=weights)
        assert influence[row] == pytest.approx((moved - score) / step, abs=1e-4)
    assert influence.sum() == pytest.approx(0)


def test_the_interval_of_macro_f1_is_that_of_images_drawn_again():
    a, b, rng, drawn = with_mistakes([0, 1, 3, 4, 9, 12]), with_mistakes([2, 5, 30]), np.random.default_rng(1), []
    for _ in range(150):
        rows = rng.integers(0, 60, 60)
        drawn.append(paired.macro_f1(LABELS[rows], b[rows], 3) - paired.macro_f1(LABELS[rows], a[rows], 3))
    low, high = paired.macro_f1_interval(LABELS, a, b, 3)
    assert low < np.quantile(drawn, 0.025) + 0.01  # not narrower, which would cover too seldom
    assert high > np.quantile(drawn, 0.975) - 0.01
    assert high - low == pytest.approx(2 * 1.96 * np.std(drawn), rel=0.3)
    low, high = paired.macro_f1_interval(LABELS, a, a, 3)
    assert -low == high == pytest.approx(1.959964 * np.sqrt(2) / 62)


def test_exchanges_by_hand():
    a, b = with_mistakes([0, 1, 2, 7]), with_mistakes([3, 8])
    differ = np.flatnonzero(a != b)
    differences = []  # first without an exchange
    for exchanged in product((False, True), repeat=len(differ)):
        rows = differ[list(exchanged)]
        new_a, new_b = a.copy(), b.copy()
        new_a[rows], new_b[rows] = b[rows], a[rows]
        differences.append(abs(paired.macro_f1(LABELS, new_b, 3) - paired.macro_f1(LABELS, new_a, 3)))
    expected = np.mean(np.array(differences) >= differences[0] - 1e-12)
    assert paired.exchange_test(LABELS, a, b, 3, 0) == expected
    assert paired.exchange_test(LABELS, a, a, 3, 0) == 1


def test_random_exchanges_agree_with_all_of_them(monkeypatch):
    a, b = with_mistakes([0, 1, 2, 7, 10, 14, 20]), with_mistakes([3, 8])
    exact = paired.exchange_test(LABELS, a, b, 3, 0)
    monkeypatch.setattr(paired, "SWAPS", 400)  # fewer than the 512 that there are
    assert paired.exchange_test(LABELS, a, b, 3, 0) == pytest.approx(exact, abs=0.06)
    assert paired.exchange_test(LABELS, a, b, 3, 0) == paired.exchange_test(LABELS, a, b, 3, 0)
