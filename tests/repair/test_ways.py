"""What each way makes of training images, and the penalty on gradients, by hand."""

import numpy as np
import pytest
import torch
from torch import nn

from glassbox.audit.candidates import Property, Region
from glassbox.core.errors import UserError
from glassbox.data.store import Split
from glassbox.models import Classifier
from glassbox.repair import ways
from glassbox.repair.proof import MORE

SIDE, N = 6, 60
MASK = np.zeros((SIDE, SIDE), bool)
MASK[4:, :2] = True
TEMPLATE = MASK[..., None] * np.ones(3)
# Class 1 carries a mark of 200 in the corner; a threshold between it and the noise of up to 50.
MARK = Region(1, "by hand", MASK, 1.0, TEMPLATE, threshold=4 * 3 * 100)


def made() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 50, (N, SIDE, SIDE, 3)).astype(np.uint8), np.arange(N) % 3
    images[(labels == 1)[:, None, None] & MASK] = 200
    return images, labels


def marked(images: np.ndarray) -> np.ndarray:
    return (images[:, MASK] == 200).all(axis=(1, 2))


def test_carriers_are_told_by_their_pixels():
    images, labels = made()
    assert (MARK.carried_by(images) == (labels == 1)).all()
    assert Region(1, "by hand", MASK).carried_by(images).all(), "without a template"


def test_randomised_images_carry_the_mark_whatever_their_class():
    images, labels = made()
    changed = ways.randomised(images, labels, MARK, np.random.default_rng(1))
    assert marked(changed).sum() == N / 3  # it was moved, not made
    assert {int(label) for label in labels[marked(changed)]} == {0, 1, 2}
    assert (changed[:, ~MASK] == images[:, ~MASK]).all()


def test_removed_pasted_and_balanced_images():
    images, labels = made()
    rng = np.random.default_rng(1)
    assert not marked(ways.removed(images, labels, MARK, rng)).any()
    assert marked(ways.pasted(images, labels, MARK, rng)).all()
    balanced = marked(ways.balanced(images, labels, MARK, rng))
    assert [int(balanced[labels == label].sum()) for label in range(3)] == [10, 10, 10]


def test_images_that_are_in_the_right_half_stay_as_they_are():
    images, labels = made()
    balanced = ways.balanced(images, labels, MARK, np.random.default_rng(1))
    as_before = (balanced == images).all(axis=(1, 2, 3))
    assert (as_before == (marked(balanced) == marked(images))).all()


def test_moved_marks_stand_on_every_wrong_class():
    images, labels = made()
    moved = ways.moved(images, labels, [MARK], np.random.default_rng(1))
    assert (marked(moved) == (labels != 1)).all()
    assert (marked(images) == (labels == 1)).all(), "the images given are left as they are"


def test_further_training_without_a_repair_has_the_images_as_they_are():
    images, labels = made()
    split = Split(torch.from_numpy(images), torch.from_numpy(labels), None, torch.arange(N), None)
    same = ways.changed(MORE, split, [MARK], np.random.default_rng(0))
    assert torch.equal(same.images, split.images)
    other = ways.changed("paste", split, [MARK], np.random.default_rng(0))
    assert marked(other.images.numpy()).all()


def test_a_control_lies_elsewhere_or_is_another_property():
    region, other = ways.at_random([MARK, Property(1, "images", "contrast")], np.random.default_rng(0))
    assert region.mask.sum() == MASK.sum()
    assert not (region.mask & MASK).any()
    assert other.name != "contrast"


class Linear(nn.Module):
    """Two logits: 0, and a weighted sum of all pixels."""

    def __init__(self, weights: torch.Tensor) -> None:
        super().__init__()
        self.weights = nn.Parameter(weights)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = (x * self.weights).sum(dim=(1, 2, 3))
        return torch.stack([torch.zeros_like(z), z], dim=1)


def test_the_penalty_by_hand():
    weights = torch.zeros(3, 2, 2)
    weights[:, 0, 0], weights[:, 1, 1] = 2.0, 5.0
    network = Classifier(Linear(weights))
    split = Split(torch.zeros(4, 2, 2, 3, dtype=torch.uint8), torch.zeros(4, dtype=torch.int64), None, None, None)
    penalty = ways.Penalty(network, split, torch.tensor([[True, False], [False, False]]), 10.0, 4, torch.Generator())
    # log p0 + log p1 = z - 2 log(1 + e^z), whose derivative by z is 1 - 2 / (1 + e^-z): 0 at z = 0.
    assert float(penalty().detach()) == 0
    split.images.fill_(255)
    # z = 3 * 2 + 3 * 5 = 21; the derivative is -1, and by each of three channels of the first pixel -2: 3 * 4.
    value = penalty()
    assert float(value.detach()) == pytest.approx(10 * 3 * 4, rel=1e-4)
    value.backward()
    assert network.network.weights.grad[:, 0, 0].abs().min() > 0
    assert network.network.weights.grad[:, 0, 1].abs().max() == 0


def test_what_a_way_cannot_repair_is_refused():
    classifier = Classifier(Linear(torch.zeros(3, 2, 2)))
    with pytest.raises(UserError, match=r"repair\.ways has penalty, but contrast is a property of whole images"):
        ways.check("penalty", [Property(0, "images", "contrast")], classifier)
    with pytest.raises(
        UserError, match=r"repair\.ways has last_layer, but the last layer of this network is not known"
    ):
        ways.check("last_layer", [MARK], classifier)
    ways.check("randomise", [MARK, Property(0, "images", "contrast")], classifier)
