"""Distances by hand, and how often an image of the same kind is called unlike."""

import numpy as np
import pytest
import torch
from torch import nn

from glassbox.explaining import familiarity
from glassbox.explaining.familiarity import Reference
from glassbox.models import Classifier


class Corners(nn.Module):
    """Features: the means of the four quadrants."""

    def __init__(self) -> None:
        super().__init__()
        self.pool, self.head = nn.AdaptiveAvgPool2d(2), nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.pool(x.mean(dim=1, keepdim=True)).flatten(1))


@pytest.fixture
def corners() -> Classifier:
    classifier = Classifier(Corners())
    classifier.heads = ("head",)
    return classifier


def images(n: int, quadrant: int, seed: int) -> torch.Tensor:
    """Dark images with one bright quadrant, and noise."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 60, (n, 8, 8, 3), dtype=np.uint8)
    y, x = divmod(quadrant, 2)
    pixels[:, 4 * y : 4 * y + 4, 4 * x : 4 * x + 4] += rng.integers(100, 190, (n, 1, 1, 1), dtype=np.uint8)
    return torch.from_numpy(pixels)


def test_distances_and_neighbours_by_hand(monkeypatch):
    monkeypatch.setattr(familiarity, "NEIGHBOURS", 2)
    known = np.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
    made = Reference(known, np.array([4, 7, 9]), 0.5, 20)
    # To (1, 0) the distances are 0, sqrt(2 - 1.2) and sqrt(2): the second nearest is at 0.894.
    assert made.distances(np.array([[1.0, 0.0]])) == pytest.approx([0.8**0.5])
    assert made.nearest(np.array([0.0, 1.0]), 2).tolist() == [9, 7]
    again = Reference.of(made.arrays())
    assert (again.features == known).all()
    assert (again.rows.tolist(), again.threshold, again.held_out) == ([4, 7, 9], 0.5, 20)


def test_features_are_those_before_the_last_layer(corners):
    found = familiarity.features_of(corners, images(3, quadrant=2, seed=0), batch_size=2)
    assert found.shape == (3, 4)
    assert np.linalg.norm(found, axis=1) == pytest.approx(1)
    assert (found.argmax(axis=1) == 2).all()
    assert corners.training  # it is left as it was
    assert not corners.network.head._forward_pre_hooks
    corners.heads = ()
    assert familiarity.features_of(corners, images(3, quadrant=2, seed=0), batch_size=2) is None


def test_one_in_twenty_images_of_the_same_kind_is_called_unlike(corners):
    train, validation = images(400, 0, seed=1), images(400, 0, seed=2)
    made = familiarity.reference(corners, train, validation, batch_size=100, seed=0)
    new = familiarity.features_of(corners, images(4000, 0, seed=3), batch_size=1000)
    alarms = (made.distances(new) > made.threshold).mean()
    assert alarms == pytest.approx(0.05, abs=0.025)
    other = familiarity.features_of(corners, images(50, 3, seed=4), batch_size=100)
    assert (made.distances(other) > made.threshold).all()
    assert made.held_out == 400


def test_too_few_validation_images_give_no_threshold(corners):
    train = images(30, 0, seed=1)
    few = familiarity.reference(corners, train, images(18, 0, seed=2), batch_size=100, seed=0)
    assert few is None
    enough = familiarity.reference(corners, train, images(19, 0, seed=2), batch_size=100, seed=0)
    own = familiarity.features_of(corners, images(19, 0, seed=2), batch_size=100)
    assert enough.threshold == pytest.approx(enough.distances(own).max())


def test_so_many_images_are_drawn_at_most(corners, monkeypatch):
    monkeypatch.setattr(familiarity, "MOST", 25)
    made = familiarity.reference(corners, images(60, 0, seed=1), images(60, 0, seed=2), batch_size=100, seed=0)
    assert (len(made.features), made.held_out) == (25, 25)
    again = familiarity.reference(corners, images(60, 0, seed=1), images(60, 0, seed=2), batch_size=100, seed=0)
    assert (again.rows == made.rows).all()
    other = familiarity.reference(corners, images(60, 0, seed=1), images(60, 0, seed=2), batch_size=100, seed=1)
    assert (other.rows != made.rows).any()


def test_the_forecast_counts_the_images_that_are_drawn():
    assert familiarity.passes(30, 5000) == 30 + familiarity.MOST
