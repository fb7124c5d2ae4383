import numpy as np
import pytest

from glassbox import comparison as c


def test_holm_by_hand():
    # Sorted 0.01, 0.03, 0.04, times 3, 2, 1: 0.03, 0.06, 0.04, of which the last may not fall below the one before.
    assert c.holm(np.array([0.01, 0.04, 0.03])).tolist() == pytest.approx([0.03, 0.06, 0.06])
    assert c.holm(np.array([0.6, 0.5])).tolist() == [1.0, 1.0]
    assert c.holm(np.array([])).tolist() == []


def test_pairs_are_compared_image_by_image():
    # All ten differences of a and b are positive: of the 2^10 signs one is as extreme on either side, p = 2 / 1024.
    rng = np.random.default_rng(0)
    base = rng.normal(size=10)
    made = c.paired({"a": base + np.arange(1, 11) / 10, "b": base, "c": base}, seed=0)
    assert made[["a", "b"]].to_numpy().tolist() == [["a", "b"], ["a", "c"], ["b", "c"]]
    assert made["difference"].tolist() == pytest.approx([0.55, 0.55, 0.0])
    assert made["p"].tolist() == pytest.approx([2 / 1024, 2 / 1024, 1.0])
    assert made["p_holm"].tolist() == pytest.approx([6 / 1024, 6 / 1024, 1.0])
    assert (made["low"] <= made["difference"]).all()
    assert (made["difference"] <= made["high"]).all()
    assert made["low"][0] > 0


def test_only_the_pairs_asked_for_are_tested_and_corrected_for():
    rng = np.random.default_rng(0)
    base = rng.normal(size=10)
    made = c.paired({"a": base + np.arange(1, 11) / 10, "b": base, "c": base}, seed=0, pairs=[("b", "a")])
    assert made[["a", "b"]].to_numpy().tolist() == [["b", "a"]]
    assert made["difference"].tolist() == pytest.approx([-0.55])
    assert made["p_holm"].tolist() == pytest.approx([2 / 1024])


def test_no_pairs_no_rows():
    assert len(c.paired({"a": np.ones(3)}, seed=0)) == 0


@pytest.mark.parametrize("higher_is_better", [True, False])
def test_ranks_by_hand(higher_is_better):
    scores = {"good": np.array([3.0, 3.0, 1.0]), "fair": np.array([2.0, 3.0, 2.0]), "bad": np.array([1.0, 1.0, 0.0])}
    if not higher_is_better:
        scores = {name: -values for name, values in scores.items()}
    made = c.rank(scores, higher_is_better, seed=0)
    # good: 1, 1.5, 2; fair: 2, 1.5, 1; bad: 3, 3, 3.
    assert made.mean_ranks == pytest.approx({"good": 1.5, "fair": 1.5, "bad": 3.0})
    assert list(made.mean_ranks)[-1] == "bad"
    assert made.cliques == [("good", "fair", "bad")]  # three images tell nothing


def test_the_ranking_says_where_it_cannot_tell():
    rng = np.random.default_rng(0)
    scores = {name: rng.normal(mean, 0.1, 40) for name, mean in (("a", 1), ("b", 1), ("c", 0), ("d", 0), ("e", -1))}
    made = c.rank(scores, True, seed=0)
    assert [set(clique) for clique in made.cliques] == [{"a", "b"}, {"c", "d"}]
    assert made.friedman < 1e-9
    assert list(made.mean_ranks)[-1] == "e"


def test_cliques_overlap_and_only_the_widest_count():
    differ = {frozenset("ad"), frozenset("ae"), frozenset("be")}
    assert c.cliques(list("abcde"), differ) == [("a", "b", "c"), ("b", "c", "d"), ("c", "d", "e")]
    assert c.cliques(list("ab"), {frozenset("ab")}) == []
    assert c.cliques(list("abc"), set()) == [("a", "b", "c")]


def test_explainers_that_are_all_alike_are_not_told_apart():
    same = c.rank({name: np.ones(6) for name in "abc"}, True, seed=0)
    assert (same.friedman, same.cliques) == (1.0, [("a", "b", "c")])
    two = c.rank({name: np.arange(6.0) for name in "ab"}, True, seed=0)
    assert two.friedman == 1.0
