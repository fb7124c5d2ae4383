import numpy as np
import pytest

from glassbox.xai_metrics.sensitivity import change, max_sensitivity


def test_change_is_the_distance_over_the_length():
    before = np.array([[[3.0, 0.0], [0.0, 4.0]]])  # length 5
    after = before - np.array([[0.6, 0.0], [0.0, 0.8]])  # length 4, distance 1
    assert change(before, after) == change(after, before) == pytest.approx([0.2])
    assert change(before, before) == [0]
    assert change(before, -before) == pytest.approx([2])
    zero = np.zeros((1, 2, 2))
    assert change(zero, zero) == [0]
    assert change(zero, before) == change(before, zero) == [1]


def test_only_known_pixels_count():
    before, after = np.array([[[3.0, 4.0]]]), np.array([[[3.0, 9.0]]])
    assert change(before, after, np.array([[[True, False]]])) == [0]
    assert change(before, after, np.array([[[False, True]]])) == pytest.approx([5 / 9])


def test_the_worst_kept_draw_less_the_noise_floor():
    changes = np.array([[0.5, 0.9, 0.7, 0.1], [0.2, 0.3, 0.6, 0.2]])
    kept = np.array([[True, False, False, True], [True, True, False, True]])
    floor = np.array([[0.1, 0.8, 0.0, 0.4], [0.0, 0.1, 0.0, 0.3]])
    scores = max_sensitivity(changes, kept, floor)
    assert scores == pytest.approx([0.4, 0.2, np.nan, -0.2], nan_ok=True)  # a draw that was not kept counts in neither
