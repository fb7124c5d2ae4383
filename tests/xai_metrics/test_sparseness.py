import numpy as np
import pytest

from glassbox.xai_metrics.sparseness import GINI, gini


def test_by_hand():
    # Shares 1/10, 2/10, 3/10, 4/10: 1 - 2 * (3.5 + 2 * 2.5 + 3 * 1.5 + 4 * 0.5) / 40 = 0.25.
    assert gini(np.array([[[1.0, -4.0], [3.0, 2.0]]])) == pytest.approx([0.25])


def test_one_pixel_is_the_sparsest_and_an_even_map_is_none():
    one = np.zeros((1, 2, 2))
    one[0, 1, 1] = -3
    assert gini(one) == pytest.approx([0.75])
    assert gini(np.full((1, 2, 2), -2.0)) == pytest.approx([0.0])
    assert np.isnan(gini(np.zeros((1, 2, 2)))).all()  # which rests on no pixel


def test_it_ranks_nothing():
    assert GINI.direction == "unranked"
