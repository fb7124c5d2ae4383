import math

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score, recall_score
from sklearn.utils.class_weight import compute_class_weight
from torch import nn
from torch.nn.functional import cross_entropy

from glassbox.models import Classifier
from glassbox.training.losses import assess, balanced_weights, mean_loss
from glassbox.training.process_group import ALONE, Ranks
from tests.training.toys import ADAM, PLACE, classifier, images_of, run


def mean_over_ranks(logits: torch.Tensor, y: torch.Tensor, size: int, **options: object) -> torch.Tensor:
    ranks = [Ranks(rank, size) for rank in range(size)]
    shares = [r.share(len(y)) for r in ranks]
    losses = [mean_loss(logits[own], y[own], len(y), r, **options) for r, own in zip(ranks, shares, strict=True)]
    return torch.stack(losses).mean()


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_the_mean_over_ranks_is_the_loss_of_the_batch(smoothing):
    logits, y = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 1, 1])
    whole = cross_entropy(logits, y, label_smoothing=smoothing)
    assert torch.equal(mean_loss(logits, y, 5, ALONE, smoothing), whole)
    for size in (1, 2, 3, 7):  # of seven, two have no image
        torch.testing.assert_close(mean_over_ranks(logits, y, size, label_smoothing=smoothing), whole)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_the_weighted_loss_by_hand(smoothing):
    # Three images of class 0 and one of class 1: weights 2/3 and 2; probabilities 3/4 and 1/4 whatever the image.
    logits, y = torch.tensor([[math.log(3), 0.0]]).expand(4, 2), torch.tensor([0, 0, 0, 1])
    first, second = -math.log(0.75), -math.log(0.25)
    loss_0, loss_1 = ((1 - smoothing) * right + smoothing * (first + second) / 2 for right in (first, second))
    for size in (1, 2, 3):
        loss = mean_over_ranks(logits, y, size, label_smoothing=smoothing, weights=balanced_weights(y))
        assert loss.item() == pytest.approx((3 * 2 / 3 * loss_0 + 2 * loss_1) / 4)


def test_balanced_weights_are_those_of_scikit_learn():
    labels = torch.tensor([0, 0, 0, 0, 0, 0, 2, 2, 3])  # no image is of class 1
    expected = compute_class_weight("balanced", classes=np.array([0, 2, 3]), y=labels.numpy())
    assert balanced_weights(labels)[[0, 2, 3]].tolist() == pytest.approx([9 / 18, 9 / 6, 9 / 3])
    assert balanced_weights(labels)[[0, 2, 3]].tolist() == pytest.approx(expected)
    assert balanced_weights(labels)[labels].mean() == pytest.approx(1)


def test_assess_by_hand():
    model, labels = classifier(), torch.tensor([0, 0, 0, 1])
    images = images_of(torch.full((4, 4, 4, 3), 128, dtype=torch.uint8), labels)
    model.network.bias.data = torch.tensor([math.log(3), 0.0])  # probabilities 3/4 and 1/4, whatever the image
    first, second = -math.log(0.75), -math.log(0.25)
    # All are taken for class 0: its F1 is 2 * 3 / (3 + 4), that of class 1 is 0.
    scores = {"accuracy": 0.75, "balanced_accuracy": 0.5, "macro_f1": (6 / 7 + 0) / 2}
    plain = assess(model, images, PLACE)
    assert plain._asdict() == pytest.approx({"loss": (3 * first + second) / 4} | scores)
    weighted = assess(model, images, PLACE, weights=balanced_weights(labels))
    assert weighted._asdict() == pytest.approx({"loss": (first + second) / 2} | scores)
    assert model.training


class Fixed(nn.Module):
    """Answers the class that an image's red says, of six."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.one_hot((x[:, 0, 0, 0] * 255).round().long(), 6).float()


def test_scores_are_those_of_scikit_learn():
    """No image is of class 2 or 5, but both are answers."""
    rng = np.random.default_rng(0)
    labels, answers = rng.choice([0, 1, 3, 4], 60), rng.integers(0, 6, 60)
    answers[:30] = labels[:30]
    data = images_of(np.broadcast_to(answers[:, None, None, None], (60, 2, 2, 3)).astype(np.uint8), labels)
    scores = assess(Classifier(Fixed()), data, PLACE)
    present = [0, 1, 3, 4]
    assert scores.accuracy == pytest.approx(accuracy_score(labels, answers))
    assert scores.balanced_accuracy == pytest.approx(recall_score(labels, answers, labels=present, average="macro"))
    assert scores.macro_f1 == pytest.approx(f1_score(labels, answers, labels=present, average="macro"))


@pytest.mark.parametrize("option", [{"class_weights": "balanced"}, {"sampling": "balanced"}])
def test_balanced_training_recognises_the_rare_class(option):
    """Images of two classes that overlap, nine of ten of one: without balance the other one is never predicted."""
    rng = np.random.default_rng(0)
    labels = (np.arange(400) % 10 == 0).astype(np.int64)
    images = np.zeros((400, 4, 4, 3), np.uint8)
    images[..., 0] = np.clip(rng.normal(110 + 35 * labels, 25), 0, 255)[:, None, None]
    data, options = images_of(images, labels), {"epochs": 30, "batch_size": 32}
    *_, plain = run(classifier(), data, data, ADAM, **options)
    *_, balanced = run(classifier(), data, data, ADAM, **options, **option)
    assert plain.validation_balanced_accuracy < 0.6
    assert balanced.validation_balanced_accuracy > 0.7
    assert balanced.validation_accuracy < plain.validation_accuracy
    assert balanced.validation_loss != pytest.approx(plain.validation_loss)
