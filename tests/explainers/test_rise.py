from dataclasses import replace

import numpy as np
import pytest
import torch

from glassbox.config.explain import Rise as Settings
from glassbox.explainers.base import Request
from glassbox.explainers.rise import Rise, draw, masks

WEIGHTS = np.array([[0.4, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.2, 0.0], [0.0, 0.0, 0.0, -0.1]])
WHITE = torch.full((2, 4, 4, 3), 255, dtype=torch.uint8)
BOTH = Request(WHITE, torch.tensor([1, 0]), (5, 5))
BLACK = (0.0, 0.0, 0.0)


def test_a_grid_becomes_a_mask_by_hand():
    cells = torch.tensor([[[1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]])
    # Pixels of an image of one cell lie a quarter and three quarters of the way from the first cell to the second.
    (mask,) = masks(cells, torch.zeros(1, 2), 2, 2)
    assert mask.numpy() == pytest.approx(np.outer([0.75, 0.25], [0.75, 0.25]))
    (mask,) = masks(cells, torch.tensor([[0.25, 0.0]]), 2, 2)  # a quarter further down
    assert mask.numpy() == pytest.approx(np.outer([0.5, 0.0], [0.75, 0.25]))


def test_masks_vary_alike_around_their_mean_at_the_border_and_in_the_middle():
    settings = Settings(masks=20_000, cells=3, probability=0.4)
    made = masks(*draw(settings, seed=1), 6, 9).double()
    assert 0 <= made.min() < 0.01 < 0.99 < made.max() <= 1
    assert made.mean(dim=0).numpy() == pytest.approx(np.full((6, 9), 0.4), abs=0.01)
    # A pixel lies u of the way between two cells, u uniform: E[u^2 + (1 - u)^2] = 2/3, along each side.
    assert made.var(dim=0).numpy() == pytest.approx(np.full((6, 9), 4 / 9 * 0.4 * 0.6), abs=0.005)


def test_the_map_of_a_linear_probability_is_what_masks_of_nearby_pixels_share(probability):
    settings = Settings(masks=40_000, cells=4, probability=0.4)
    made = Rise(settings, BLACK, 1000)(probability(WEIGHTS, floor=0.3), BOTH)
    # Cells as large as pixels: E[u^2 + (1 - u)^2] = 2/3 of one pixel, E[u (1 - u)] = 1/6 of neighbours, along each
    # side. Covariances of masks are these times 0.4 * 0.6, which is divided by 0.4.
    shared = np.diag([2 / 3] * 4) + np.diag([1 / 6] * 3, 1) + np.diag([1 / 6] * 3, -1)
    assert made.maps[0] == pytest.approx(0.6 * shared @ WEIGHTS @ shared, abs=0.005)
    assert made.maps[1] == pytest.approx(-made.maps[0], abs=1e-6)  # what one class gains the other loses
    assert made.forward_passes.tolist() == [40_000, 40_000]  # the same for both


def test_it_is_the_covariance_of_masks_and_probability_whatever_the_batches(probability):
    settings, weights = Settings(masks=7, cells=2, probability=0.5), np.abs(WEIGHTS)
    grey = Request(WHITE[:1], torch.tensor([1]), (5,))
    mask = masks(*draw(settings, seed=5), 4, 4).double().numpy()
    p = 0.1 + ((0.5 + 0.5 * mask) * weights).sum(axis=(1, 2))  # what is hidden is grey
    expected = np.cov(p, mask.reshape(7, -1), rowvar=False)[0, 1:].reshape(4, 4) / 0.5
    for batch_size in (1, 3, 64):
        made = Rise(settings, (0.5, 0.5, 0.5), batch_size)(probability(weights, floor=0.1), grey)
        assert made.maps[0] == pytest.approx(expected, abs=1e-6)


def test_the_seed_of_an_image_alone_makes_its_masks(probability):
    explainer, classifier = Rise(Settings(masks=20, cells=2, probability=0.5), BLACK, 8), probability(WEIGHTS, 0.3)
    first, alone = explainer(classifier, BOTH), explainer(classifier, BOTH.part(1, 2))
    assert np.array_equal(first.maps[1:], alone.maps)
    assert np.array_equal(first.maps, explainer(classifier, BOTH).maps)
    assert not np.allclose(first.maps, explainer(classifier, replace(BOTH, seeds=(6, 6))).maps)


def test_where_nothing_changes_the_map_is_zero(probability):
    nothing = probability(np.zeros((4, 4)), floor=0.3)
    assert not Rise(Settings(masks=20, cells=2, probability=0.5), BLACK, 8)(nothing, BOTH).maps.any()
