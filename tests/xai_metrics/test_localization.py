import numpy as np
import pytest

from glassbox.xai_metrics.localization import (
    POINTING_GAME,
    RANK_ACCURACY,
    RELEVANCE_MASS,
    TRANSPORT,
    area,
    pointing_game,
    rank_accuracy,
    relevance_mass,
    transport,
)

MASK = np.array([[[True, True], [False, False]]])


def test_the_share_of_the_positive_mass_inside():
    assert relevance_mass(np.array([[[3.0, 1.0], [4.0, -8.0]]]), MASK).tolist() == [0.5]
    assert relevance_mass(np.array([[[3.0, 0.0], [-1.0, -8.0]]]), MASK).tolist() == [1.0]
    assert relevance_mass(np.array([[[-3.0, 0.0], [1.0, 1.0]]]), MASK).tolist() == [0.0]


def test_a_map_that_points_nowhere_counts_as_chance():
    quarter = np.array([[[True, False], [False, False]]])
    assert relevance_mass(np.zeros((1, 2, 2)), quarter).tolist() == [0.25]
    assert relevance_mass(-np.ones((1, 2, 2)), quarter).tolist() == [0.25]
    assert area(quarter).tolist() == [0.25]


def test_of_the_highest_pixels_as_many_as_the_mask_has_count():
    assert rank_accuracy(np.array([[[4.0, 1.0], [3.0, 2.0]]]), MASK).tolist() == [0.5]
    assert rank_accuracy(np.array([[[4.0, 3.0], [1.0, 2.0]]]), MASK).tolist() == [1.0]
    assert rank_accuracy(np.array([[[-4.0, -3.0], [1.0, 2.0]]]), MASK).tolist() == [0.0]


def test_tied_pixels_count_as_a_random_order_would_have_them():
    # One of two places is sure (inside); the other goes to one of three tied pixels, of which one is inside.
    assert rank_accuracy(np.array([[[4.0, 1.0], [1.0, 1.0]]]), MASK) == pytest.approx([(1 + 1 / 3) / 2])
    assert rank_accuracy(np.zeros((1, 2, 2)), MASK).tolist() == [0.5]
    assert pointing_game(np.array([[[4.0, 1.0], [4.0, 4.0]]]), MASK) == pytest.approx([1 / 3])


def test_the_highest_pixel_is_inside_or_not():
    assert pointing_game(np.array([[[1.0, 4.0], [3.0, 2.0]]]), MASK).tolist() == [1.0]
    assert pointing_game(np.array([[[1.0, 2.0], [3.0, -9.0]]]), MASK).tolist() == [0.0]


def test_how_far_the_mass_has_to_travel():
    corner = np.zeros((1, 4, 5), bool)
    corner[0, 0, 0] = True
    far = np.zeros((1, 4, 5))
    far[0, 3, 4] = 2.0
    assert transport(far, corner) == pytest.approx([5.0])  # 3 down, 4 to the right
    far[0, 0, 0] = 2.0
    assert transport(far, corner) == pytest.approx([2.5])
    assert transport(corner.astype(float), corner) == pytest.approx([0.0])
    # Both rows weigh the same: half of the mass moves by one pixel. So does that of a map with nothing positive.
    assert transport(np.ones((1, 2, 2)), MASK) == pytest.approx([0.5])
    assert transport(-np.ones((1, 2, 2)), MASK) == pytest.approx([0.5])


@pytest.mark.parametrize("score", [relevance_mass, rank_accuracy, pointing_game, transport])
def test_without_a_mask_there_is_no_answer(score):
    assert np.isnan(score(np.ones((1, 2, 2)), np.zeros((1, 2, 2), bool))).all()


@pytest.mark.parametrize("score", [relevance_mass, rank_accuracy, pointing_game])
def test_random_maps_have_the_share_of_the_pixels(score):
    maps = np.random.default_rng(0).uniform(size=(4000, 8, 8))
    masks = np.zeros((4000, 8, 8), bool)
    masks[:, 2:6, 2:6] = True
    assert score(maps, masks).mean() == pytest.approx(0.25, abs=0.02)


def test_they_declare_themselves():
    assert RELEVANCE_MASS.direction == RANK_ACCURACY.direction == POINTING_GAME.direction == "higher is better"
    assert TRANSPORT.direction == "lower is better"
    assert "Arras" in RELEVANCE_MASS.citation
