import numpy as np
import pytest

from glassbox.xai_metrics.stability import rank_agreement, top_overlap


def test_rank_agreement_by_hand():
    # Spearman: 1 - 6 * sum(d^2) / (n (n^2 - 1)). The second run swaps two neighbours of four: 1 - 6 * 2 / 60 = 0.8. The
    # third turns the first around: -1, and 1 - 6 * (4 + 4 + 1 + 9) / 60 = -0.8 with the second.
    runs = np.array([[1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 4.0, 3.0], [4.0, 3.0, 2.0, 1.0]])
    assert rank_agreement(runs[:2]) == pytest.approx(0.8)
    assert rank_agreement(runs[[0, 2]]) == pytest.approx(-1.0)
    assert rank_agreement(runs) == pytest.approx((0.8 - 1.0 - 0.8) / 3)


def test_only_ranks_count():
    assert rank_agreement(np.array([[0.1, 0.2, 0.9], [-5.0, 0.0, 1000.0]])) == pytest.approx(1.0)


def test_a_run_that_ranks_nothing_agrees_with_none():
    assert np.isnan(rank_agreement(np.array([[0.0, 0.0, 0.0], [1.0, 2.0, 3.0]])))


def test_top_overlap_by_hand():
    runs = np.array([[0.9, -0.8, 0.1, 0.0], [0.9, 0.0, -0.8, 0.1], [0.0, 0.1, 0.8, -0.9]])
    # The two strongest of each, whatever their sign: {0, 1}, {0, 2}, {2, 3}.
    assert top_overlap(runs, 2) == pytest.approx((0.5 + 0.0 + 0.5) / 3)
    assert top_overlap(runs[:2], 1) == 1.0
    assert top_overlap(runs, 9) == 1.0  # of four regions all four are compared
