"""A game whose answer is known: an image of four bright quadrants on black, each with its own worth."""

import numpy as np
import pytest
import torch

from glassbox.explainers import kernel_shap, lime
from glassbox.explainers.base import Request

QUADRANTS = np.kron(np.array([[0, 1], [2, 3]]), np.ones((4, 4), int))  # (8, 8) labels
WORTH = np.array([0.4, 0.3, 0.1, -0.1])  # what each quadrant adds to the probability of class 1 when it is visible


@pytest.fixture
def game(probability, monkeypatch):
    """A classifier with P(class 1) = 0.2 + the worth of the visible quadrants, a white image, and the quadrants as its
    superpixels."""
    weights = (WORTH / 16)[QUADRANTS]
    for module in (lime, kernel_shap):
        monkeypatch.setattr(module, "segment", lambda image, how: QUADRANTS)
    white = torch.full((1, 8, 8, 3), 255, dtype=torch.uint8)
    return probability(weights, floor=0.2), Request(white, torch.tensor([1]), (0,))
