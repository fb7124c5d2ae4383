import numpy as np
import pytest

from glassbox.xai_metrics.localization import area, pointing_game, rank_accuracy, relevance_mass, transport

MASK = np.array([[[True, True], [False, False]]])


@pytest.mark.parametrize(
    ("score", "values", "expected"),
    [
        (relevance_mass, [[3.0, 1.0], [4.0, -8.0]], 0.5),
        (relevance_mass, [[3.0, 0.0], [-1.0, -8.0]], 1.0),
        (relevance_mass, [[-3.0, 0.0], [1.0, 1.0]], 0.0),
        (rank_accuracy, [[4.0, 1.0], [3.0, 2.0]], 0.5),
        (rank_accuracy, [[4.0, 3.0], [1.0, 2.0]], 1.0),
        (rank_accuracy, [[-4.0, -3.0], [1.0, 2.0]], 0.0),
        (rank_accuracy, [[0.0, 0.0], [0.0, 0.0]], 0.5),
        # One of two places is sure (inside); the other goes to one of three equal pixels, of which one is inside.
        (rank_accuracy, [[4.0, 1.0], [1.0, 1.0]], (1 + 1 / 3) / 2),
        (pointing_game, [[1.0, 4.0], [3.0, 2.0]], 1.0),
        (pointing_game, [[1.0, 2.0], [3.0, -9.0]], 0.0),
        (pointing_game, [[4.0, 1.0], [4.0, 4.0]], 1 / 3),
        # Both rows weigh the same: half of the mass moves by one pixel. So does that of a map with nothing positive.
        (transport, [[1.0, 1.0], [1.0, 1.0]], 0.5),
        (transport, [[-1.0, -1.0], [-1.0, -1.0]], 0.5),
    ],
)
def test_scores_by_hand(score, values, expected):
    assert score(np.array([values]), MASK) == pytest.approx([expected])


def test_a_map_with_nothing_positive_has_the_relevance_mass_of_chance():
    quarter = np.array([[[True, False], [False, False]]])
    assert relevance_mass(np.zeros((1, 2, 2)), quarter).tolist() == [0.25]
    assert relevance_mass(-np.ones((1, 2, 2)), quarter).tolist() == [0.25]
    assert area(quarter).tolist() == [0.25]


def test_how_far_the_mass_has_to_travel():
    corner, far = np.zeros((1, 4, 5), bool), np.zeros((1, 4, 5))
    corner[0, 0, 0], far[0, 3, 4] = True, 2.0
    assert transport(far, corner) == pytest.approx([5.0])  # 3 down, 4 to the right
    far[0, 0, 0] = 2.0
    assert transport(far, corner) == pytest.approx([2.5])
    assert transport(corner.astype(float), corner) == pytest.approx([0.0])


def test_large_images_are_joined_into_squares():
    """On 64 x 64 pixels squares of 2 x 2: from the second in its row to the first, 2 pixels."""
    maps, masks = np.zeros((1, 64, 64)), np.zeros((1, 64, 64), bool)
    maps[0, 1, 3] = 5
    masks[0, :2, :2] = True
    assert transport(maps, masks) == pytest.approx([2.0])
    maps[0, 0, 0] = 5
    assert transport(maps, masks) == pytest.approx([1.0])
    odd = np.pad(masks, ((0, 0), (0, 3), (0, 3)))  # 67 pixels, squares of 3 x 3
    assert transport(np.pad(maps, ((0, 0), (0, 3), (0, 3))), odd) == pytest.approx([1.5])


@pytest.mark.parametrize("score", [relevance_mass, rank_accuracy, pointing_game, transport])
def test_without_a_mask_there_is_no_score(score):
    assert np.isnan(score(np.ones((1, 2, 2)), np.zeros((1, 2, 2), bool))).all()


@pytest.mark.parametrize("score", [relevance_mass, rank_accuracy, pointing_game])
def test_random_maps_have_the_share_of_the_pixels(score):
    maps = np.random.default_rng(0).uniform(size=(4000, 8, 8))
    masks = np.zeros((4000, 8, 8), bool)
    masks[:, 2:6, 2:6] = True
    assert score(maps, masks).mean() == pytest.approx(0.25, abs=0.02)
