import numpy as np
import pytest

from glassbox.xai_metrics.stability import agreement_with, overlap_by_chance, rank_agreement, top_overlap

RUNS = np.array([[1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 4.0, 3.0], [4.0, 3.0, 2.0, 1.0]])


def test_rank_agreement_by_hand():
    # Spearman: 1 - 6 * sum(d^2) / (n (n^2 - 1)). The second run swaps two neighbours of four: 1 - 6 * 2 / 60 = 0.8. The
    # third reverses the first: -1, and 1 - 6 * (4 + 4 + 1 + 9) / 60 = -0.8 with the second.
    assert rank_agreement(RUNS[:2]) == pytest.approx(0.8)
    assert rank_agreement(RUNS[[0, 2]]) == pytest.approx(-1.0)
    assert rank_agreement(RUNS) == pytest.approx((0.8 - 1.0 - 0.8) / 3)
    assert rank_agreement(np.array([[0.1, 0.2, 0.9], [-5.0, 0.0, 1000.0]])) == pytest.approx(1.0)  # only ranks count


def test_a_run_of_equal_weights_agrees_with_none():
    runs = np.array([[0.0, 0.0, 0.0], [1.0, 2.0, 3.0], [5.0, 6.0, 7.0]])
    assert rank_agreement(runs[:2]) == 0
    assert rank_agreement(runs) == pytest.approx(1 / 3)
    assert np.isnan(rank_agreement(np.zeros((2, 3))))  # there is nothing to agree on
    assert np.isnan(agreement_with(np.zeros((2, 3)), np.zeros((2, 3))))


def test_agreement_with_other_runs_by_hand():
    # The first run beside the mean of two others, (1, 2, 3.5, 3.5) and one half more. Ranks less their mean:
    # (-1.5, -.5, 1, 1) . (-1.5, -.5, .5, 1.5) = 4.5, with lengths sqrt(4.5) and sqrt(5).
    others = np.stack([100 * RUNS[2], RUNS[0], RUNS[1]]) + 0.5
    same = np.stack([RUNS[0]] * 3)
    first = 4.5 / np.sqrt(4.5 * 5)
    # The second and the third are beside means that the reversed run, a hundred times as large, decides: -1.
    assert agreement_with(same, others) == pytest.approx((first - 1 - 1) / 3)
    # Beside itself a run is left out: of two runs that leaves the other one.
    assert agreement_with(RUNS[:2], RUNS[:2]) == pytest.approx(0.8)
    assert agreement_with(RUNS[[0, 2]], RUNS[[0, 2]]) == pytest.approx(-1.0)


def test_overlap_by_chance():
    assert overlap_by_chance(20, 5) == 0.25
    assert overlap_by_chance(4, 5) == 1.0
    assert top_overlap(np.random.default_rng(0).normal(size=(200, 20)), 5) == pytest.approx(0.25, abs=0.01)
    runs = np.array([[0.0, 0.0, 0.0, 0.0], [1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]])  # the first chooses nothing
    assert top_overlap(runs, 1) == pytest.approx((0.25 + 0.25 + 1) / 3)
    assert top_overlap(np.array([[1.0, -1.0], [1.0, -1.0]]), 1) == 0.5
    assert np.isnan(top_overlap(np.zeros((2, 4)), 1))


def test_top_overlap_by_hand():
    runs = np.array([[0.9, -0.8, 0.1, 0.0], [0.9, 0.0, -0.8, 0.1], [0.0, 0.1, 0.8, -0.9]])
    # The two strongest of each, whatever their sign: {0, 1}, {0, 2}, {2, 3}.
    assert top_overlap(runs, 2) == pytest.approx((0.5 + 0.0 + 0.5) / 3)
    assert top_overlap(runs[:2], 1) == 1.0
    assert top_overlap(runs, 9) == 1.0  # of four regions all four are compared
