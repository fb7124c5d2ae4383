import numpy as np
import pytest
import scipy

from glassbox.statistics import comparison as c
from glassbox.statistics.comparison import Comparison


def test_holm_by_hand():
    # Sorted 0.01, 0.03, 0.04, times 3, 2, 1: 0.03, 0.06, 0.04, of which the last may not fall below the one before.
    assert c.holm(np.array([0.01, 0.04, 0.03])).tolist() == pytest.approx([0.03, 0.06, 0.06])
    assert c.holm(np.array([0.6, 0.5])).tolist() == [1.0, 1.0]
    assert c.holm(np.array([])).tolist() == []


def test_the_statistic_by_hand():
    # Ranks 1, 2.5, 2.5 and 4 of the sizes, signs + - + +: the sum is 5, its standard deviation the root of 29.5.
    assert c.statistic(np.array([1.0, -2.0, 2.0, 5.0])) == pytest.approx(5 / np.sqrt(29.5))
    # Pratt: the zero takes rank 1 and counts nothing, so that the others have 2 and 3.
    assert c.signed_ranks(np.array([0.0, -1.0, 4.0])).tolist() == [0, -2, 3]
    assert c.statistic(np.zeros((2, 3))).tolist() == [0, 0]


def test_the_p_value_by_hand():
    # Ranks 1, 2 and 3, of which 2 is negative: sums of positive ranks of all 8 signs are 0, 1, 2, 3, 3, 4, 5, 6, and
    # three of them are 4 or more.
    assert c.p_value(np.array([1.0, -2.0, 3.0])) == pytest.approx(2 * 3 / 8)
    # Two ties, ranks 1.5 each: sums 0, 1.5, 1.5, 3, one of which is 3.
    assert c.p_value(np.array([1.0, 1.0])) == pytest.approx(2 / 4)
    assert c.p_value(np.zeros(4)) == 1


@pytest.mark.parametrize(
    ("n", "method"), [(8, "exact"), (30, "exact"), (100, "exact"), (109, "asymptotic"), (201, "asymptotic")]
)
def test_the_p_value_agrees_with_scipy(n, method):
    differences = np.random.default_rng(n).normal(0.2, 1, n)
    assert c.p_value(differences) == pytest.approx(scipy.stats.wilcoxon(differences, method=method).pvalue, rel=1e-6)


def test_ties_and_zeros_are_exact():
    differences = np.round(np.random.default_rng(0).normal(0.4, 1, 10), 0)
    assert len(np.unique(np.abs(differences))) < 6
    ranks = c.signed_ranks(differences)
    signs = np.array(np.meshgrid(*[[0, 1]] * 10)).reshape(10, -1)
    sums = signs.T @ np.abs(ranks)
    at = ranks[ranks > 0].sum()
    assert c.p_value(differences) == pytest.approx(min(1, 2 * min((sums <= at).mean(), (sums >= at).mean())))


def test_the_typical_difference_and_the_interval_of_what_the_test_does_not_reject():
    # Means of all pairs of 1, 2 and 9: 1, 1.5, 5, 2, 5.5, 9, with the median 3.5.
    assert c.shift(np.array([1.0, 2.0, 9.0]))[0] == 3.5
    differences = np.random.default_rng(1).normal(0.3, 1, 40)
    _, low, high = c.shift(differences)
    assert all(c.p_value(differences - inside) > 0.05 for inside in (low + 0.01, high - 0.01))
    assert all(c.p_value(differences - outside) < 0.05 for outside in (low - 0.02, high + 0.02))


@pytest.mark.parametrize("n", [12, 60])
@pytest.mark.parametrize("draw", [np.random.Generator.standard_normal, np.random.Generator.standard_cauchy])
def test_the_interval_covers_the_centre_of_symmetric_differences(n, draw):
    rng = np.random.default_rng(2)
    ends = np.array([c.shift(draw(rng, n))[1:] for _ in range(400)])
    assert 0.925 < ((ends[:, 0] <= 0) & (ends[:, 1] >= 0)).mean() < 0.98


def compared(differences: np.ndarray, higher_is_better: bool = True) -> dict:
    return c.compare([Comparison("k", "a", "b", differences, higher_is_better)]).loc["k"].to_dict()


@pytest.mark.parametrize(("higher_is_better", "outcome"), [(True, "better"), (False, "worse")])
def test_pairs_are_compared_image_by_image(higher_is_better, outcome):
    # All ten differences are positive: of the 2^10 signs one is as extreme on either side, p = 2 / 1024.
    row = compared(np.arange(1, 11) / 10, higher_is_better)
    assert (row["a"], row["b"], row["n"], row["outcome"]) == ("a", "b", 10, outcome)
    assert row["difference"] == pytest.approx(0.55)
    assert row["p"] == row["p_holm"] == pytest.approx(2 / 1024)
    assert 0 < row["low"] < 0.55 < row["high"] < 1


def test_the_direction_is_that_of_the_test():
    """Worse on nine images of ten by a little, and much better on the tenth: the mean says better, the test worse."""
    rng = np.random.default_rng(0)
    differences = rng.uniform(0.005, 0.02, 200)
    differences[:20] = -rng.uniform(0.2, 0.4, 20)
    assert differences.mean() < 0
    row = compared(differences, higher_is_better=False)
    assert row["outcome"] == "worse"
    assert 0 < row["low"] < row["difference"] < row["high"]
    assert compared(-differences, higher_is_better=False)["outcome"] == "better"


def test_no_outcome_contradicts_its_own_difference():
    rng = np.random.default_rng(3)
    for _ in range(60):
        row = compared(rng.standard_t(2, 30) + rng.normal(0, 0.7))
        if row["outcome"] != "undecided":
            assert np.sign(row["difference"]) == {"better": 1, "worse": -1}[row["outcome"]]
            assert not row["low"] <= 0 <= row["high"]


def test_all_comparisons_are_one_family():
    differences = np.random.default_rng(0).normal(0.9, 1, 12)
    alone = compared(differences)
    family = c.compare([Comparison(n, "a", "b", differences * (1 if n == 0 else 0), True) for n in range(100)])
    assert alone["outcome"] == "better"
    assert family.loc[0, "p"] == alone["p"]
    assert family.loc[0, "p_holm"] == pytest.approx(min(1, 100 * alone["p"]))
    assert family.loc[0, "outcome"] == "undecided"


def test_images_without_a_score_do_not_count():
    row = compared(np.array([np.nan, 1.0, 2.0, 3.0, np.nan, 4.0, 5.0, 6.0, 7.0]))
    assert row["n"] == 7
    assert row["p"] == pytest.approx(2 / 2**7)
    empty = compared(np.full(4, np.nan))
    assert (empty["n"], empty["p"], empty["outcome"]) == (0, 1.0, "undecided")
    assert len(c.compare([])) == 0


@pytest.mark.parametrize(
    ("differences", "estimate", "p", "outcome"),
    [
        (np.arange(1.0, 6.0), 3.0, 0.0625, "undecided"),  # five images decide nothing
        (np.full(24, 0.25), 0.25, 2 / 2**24, "better"),
        (np.zeros(24), 0.0, 1, "undecided"),
        (np.where(np.arange(60) < 5, 1.0, 0.0), 0.0, 2 / 2**5, "undecided"),
    ],
)
def test_few_or_nearly_equal_differences_have_no_interval(differences, estimate, p, outcome):
    """[0, 0] would mean that the typical difference is known to be 0."""
    row = compared(differences)
    assert (row["difference"], row["outcome"]) == (estimate, outcome)
    assert row["p"] == pytest.approx(p)
    assert np.isnan([row["low"], row["high"]]).all()


@pytest.mark.parametrize("tests", [1, 14, 35, 40, 41, 395])
def test_the_fewest_images_that_can_reject(tests):
    n = c.fewest(tests)
    assert tests * 2 / 2**n < 0.05 <= tests * 2 / 2 ** (n - 1)


def test_false_claims_of_a_whole_family():
    """Of families of 12 true null hypotheses that depend on each other, at most one in twenty has a false claim."""
    rng, false = np.random.default_rng(5), 0
    for _ in range(100):
        common = rng.standard_t(3, (12, 1))
        differences = (common + rng.standard_t(3, (12, 12))) * rng.choice((-1, 1), (12, 1))
        false += (c.holm(np.array([c.p_value(column) for column in differences.T])) < 0.05).any()
    assert false <= 100 * 0.05 + 2 * np.sqrt(100 * 0.05 * 0.95)


@pytest.mark.parametrize("higher_is_better", [True, False])
def test_ranks_by_hand(higher_is_better):
    scores = {"good": np.array([3.0, 3.0, 1.0]), "fair": np.array([2.0, 3.0, 2.0]), "bad": np.array([1.0, 1.0, 0.0])}
    if not higher_is_better:
        scores = {name: -values for name, values in scores.items()}
    ranks = c.mean_ranks(scores, higher_is_better)
    # good: 1, 1.5, 2; fair: 2, 1.5, 1; bad: 3, 3, 3.
    assert ranks == pytest.approx({"good": 1.5, "fair": 1.5, "bad": 3.0})
    assert list(ranks)[-1] == "bad"


def test_cliques_overlap_and_only_the_widest_count():
    differ = {frozenset("ad"), frozenset("ae"), frozenset("be")}
    assert c.cliques(list("abcde"), differ) == [("a", "b", "c"), ("b", "c", "d"), ("c", "d", "e")]
    assert c.cliques(list("ab"), {frozenset("ab")}) == []
    assert c.cliques(list("abc"), set()) == [("a", "b", "c")]
