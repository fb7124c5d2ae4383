import numpy as np
import pytest
import torch

from glassbox.xai_metrics.intervention import at_random, probabilities_without, strongest

SEGMENTS = np.array([[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3]])


@pytest.mark.parametrize(
    ("share", "regions"),
    [(0.1, [1]), (0.25, [1]), (0.26, [1, 3]), (0.5, [1, 3]), (0.75, [1, 3, 0]), (0.99, [0, 1, 2, 3])],
)
def test_the_strongest_regions_that_reach_the_share(share, regions):
    values = np.array([1.0, 9.0, -5.0, 4.0])[SEGMENTS]
    assert (strongest(values, SEGMENTS, share, seed=0) == np.isin(SEGMENTS, regions)).all()


def test_a_region_counts_by_its_mean():
    values = np.zeros((4, 4))
    values[0, 0] = 10.0  # the mean of region 0 is 2.5
    values[2:, 2:] = 3.0
    assert (strongest(values, SEGMENTS, 0.2, seed=0) == (SEGMENTS == 3)).all()


def test_the_seed_decides_between_equal_regions():
    masks = [strongest(np.zeros((4, 4)), SEGMENTS, 0.2, seed) for seed in range(400)]
    chosen = np.array([SEGMENTS[mask][0] for mask in masks])
    assert all((mask == (region == SEGMENTS)).all() for mask, region in zip(masks, chosen, strict=True))
    assert np.bincount(chosen) == pytest.approx([100] * 4, abs=30)
    assert (strongest(np.zeros((4, 4)), SEGMENTS, 0.2, seed=7) == masks[7]).all()


def test_random_masks_are_of_the_same_size_and_the_seed_decides():
    masks = at_random(SEGMENTS, 0.5, 200, seed=3)
    assert masks.shape == (200, 4, 4)
    assert (masks.sum(axis=(1, 2)) == 8).all()
    assert masks.mean(axis=0) == pytest.approx(0.5, abs=0.12)
    assert (at_random(SEGMENTS, 0.5, 200, seed=3) == masks).all()
    assert (at_random(SEGMENTS, 0.5, 200, seed=4) != masks).any()


def test_masked_pixels_are_blurred_and_the_others_stay(probability):
    # p = mean of the pixel in the corner: 1 as it is, and what a wide blur leaves of it when it is hidden.
    weights, image, corner = np.zeros((8, 8)), torch.zeros(8, 8, 3, dtype=torch.uint8), np.zeros((1, 8, 8), bool)
    weights[0, 0], image[0, 0], corner[0, 0, 0] = 1.0, 255, True
    masks = np.concatenate([corner, ~corner, np.zeros_like(corner)])
    p = probabilities_without(probability(weights), image, masks, blur_sigma=100.0, batch_size=2)
    assert p.shape == (3, 2)
    assert p[1:, 1] == pytest.approx([1, 1], abs=1e-6)
    assert p[0, 1] == pytest.approx(1 / 64, abs=2e-3)  # so wide a blur spreads it over the whole image
