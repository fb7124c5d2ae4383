import numpy as np
import pytest
import torch

from glassbox.config.explain import Occlusion as Settings
from glassbox.explainers.base import Request
from glassbox.explainers.occlusion import Occlusion

WEIGHTS = np.array([[0.1, 0.2, 0.0, 0.0], [0.0, 0.1, 0.0, 0.0], [0.0, 0.0, 0.3, 0.0], [0.0, 0.0, 0.0, 0.1]])
WHITE = torch.full((2, 4, 4, 3), 255, dtype=torch.uint8)
BOTH = Request(WHITE, torch.tensor([1, 0]), (0, 0))


def test_squares_side_by_side_give_what_each_is_worth(probability):
    made = Occlusion(Settings(window=2, stride=2), (0.0, 0.0, 0.0), 3)(probability(WEIGHTS), BOTH)
    expected = np.kron(np.array([[0.4, 0.0], [0.0, 0.4]]), np.ones((2, 2)))
    assert made.maps[0] == pytest.approx(expected, abs=1e-6)
    assert made.maps[1] == pytest.approx(-expected, abs=1e-6)  # what one class loses the other gains
    assert made.forward_passes.tolist() == [5, 5]  # four squares, and the image itself


def test_covered_by_grey_half_of_it_goes(probability):
    made = Occlusion(Settings(window=2, stride=2), (0.5, 0.5, 0.5), 64)(probability(WEIGHTS), BOTH)
    assert made.maps[0, 0, 0] == pytest.approx(0.2, abs=1e-6)


def test_where_squares_overlap_it_is_their_mean(probability):
    weights = np.array([[0.6, 0.0, 0.2]])
    one_row = Request(WHITE[:1, :1, :3], torch.tensor([1]), (0,))
    # The window is as high as the image allows: squares of one pixel.
    made = Occlusion(Settings(window=2, stride=1), (0.0, 0.0, 0.0), 8)(probability(weights), one_row)
    assert made.maps[0] == pytest.approx(weights, abs=1e-6)
    wide = np.array([[0.6, 0.0, 0.2], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    square = Request(WHITE[:1, :3, :3], torch.tensor([1]), (0,))
    made = Occlusion(Settings(window=2, stride=1), (0.0, 0.0, 0.0), 8)(probability(wide), square)
    # The corners lie in one square each, the middle of the upper row in two: (0.6 + 0.2) / 2.
    assert made.maps[0, 0] == pytest.approx([0.6, 0.4, 0.2], abs=1e-6)
