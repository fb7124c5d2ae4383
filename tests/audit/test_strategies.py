"""Groups of images whose maps are alike."""

from itertools import pairwise

import numpy as np
import pytest

from glassbox.audit import strategies


def test_relevance_is_shared_among_positive_pixels():
    maps = np.array([[[3.0, -5.0], [1.0, 0.0]], [[-1.0, 0.0], [0.0, 0.0]]], dtype=np.float32)
    assert strategies.relevance_shares(maps).tolist() == [[[0.75, 0], [0.25, 0]], [[0, 0], [0, 0]]]


def test_maps_are_pooled_to_vectors():
    maps = np.arange(16, dtype=np.float64).reshape(1, 4, 4).repeat(8, axis=1).repeat(8, axis=2)
    assert strategies.pooled(maps).shape == (1, 256)
    assert strategies.pooled(maps)[0, :4].tolist() == [0, 0, 0, 0]  # 16 x 16 cells of 2 x 2 equal pixels


@pytest.mark.parametrize("sizes", [(40, 40), (50, 30, 20)])
def test_groups_that_are_apart_are_found(sizes):
    rng = np.random.default_rng(0)
    vectors = np.concatenate([rng.normal(10 * place, 1, (n, 3)) for place, n in enumerate(sizes)])
    everything, *parts = strategies.groups(vectors, seed=0)
    assert everything.tolist() == list(range(len(vectors)))
    starts = np.cumsum([0, *sizes])
    expected = {tuple(range(a, b)) for a, b in pairwise(starts)}
    assert {tuple(rows) for rows in parts} == expected


@pytest.mark.parametrize("vectors", [np.zeros((50, 3)), np.random.default_rng(0).normal(size=(15, 3))])
def test_equal_or_few_images_are_one_group(vectors):
    (rows,) = strategies.groups(vectors, seed=0)
    assert len(rows) == len(vectors)


def test_a_small_group_is_not_searched_on_its_own():
    rng = np.random.default_rng(0)
    vectors = np.concatenate([rng.normal(0, 1, (40, 3)), rng.normal(50, 1, (strategies.FEWEST - 1, 3))])
    sizes = [len(rows) for rows in strategies.groups(vectors, seed=0)]
    assert strategies.FEWEST - 1 not in sizes
