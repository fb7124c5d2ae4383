import numpy as np
import pytest

from glassbox.xai_metrics.localization import RELEVANCE_MASS, area, relevance_mass

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


def test_without_a_mask_there_is_no_answer():
    assert np.isnan(relevance_mass(np.ones((1, 2, 2)), np.zeros((1, 2, 2), bool))).all()


def test_random_maps_have_the_share_of_the_pixels():
    maps = np.random.default_rng(0).uniform(size=(400, 16, 16))
    masks = np.zeros((400, 16, 16), bool)
    masks[:, 4:12, 4:12] = True
    assert relevance_mass(maps, masks).mean() == pytest.approx(0.25, abs=0.005)


def test_it_declares_itself():
    assert RELEVANCE_MASS.direction == "higher is better"
    assert "Arras" in RELEVANCE_MASS.citation
