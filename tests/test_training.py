import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

from glassbox.compute import Place
from glassbox.config import Augment
from glassbox.data.store import Split
from glassbox.models import Classifier
from glassbox.training import Diverged, OptimizerSettings, Plateau, assess, batches, fit, make_optimizer

PLACE = Place(torch.device("cpu"), torch.float32, 64)
PLAIN = Augment(flip=False, crop=0, brightness=0.0, contrast=0.0, saturation=0.0)


class Linear(nn.Module):
    """A logistic regression on the mean colour, with a penalty on its weights."""

    def __init__(self, penalty: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2, 3))
        self.bias = nn.Parameter(torch.zeros(2))
        self.penalty = penalty

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(dim=(2, 3)) @ self.weight.T + self.bias

    def penalties(self):
        return ((self.weight, self.penalty),)


def classifier(penalty: float = 0.0) -> Classifier:
    return Classifier(Linear(penalty), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def split(n: int, seed: int = 0, noise: float = 0.0) -> Split:
    """Red images are of class 0, blue ones of class 1; `noise` is the share of wrong labels."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    images = np.zeros((n, 4, 4, 3), np.uint8)
    images[labels == 0, ..., 0] = 255
    images[labels == 1, ..., 2] = 255
    wrong = rng.random(n) < noise
    labels = np.where(wrong, 1 - labels, labels)
    return Split(torch.from_numpy(images), torch.from_numpy(labels), None, torch.arange(n), None)


def run(model: Classifier, train: Split, validation: Split, settings: OptimizerSettings, **options):
    options = {"epochs": 3, "batch_size": 8, "patience": 99, "seed": 0, "how": PLAIN, "place": PLACE} | options
    return fit(model, train, validation, make_optimizer(model, settings), **options)


def test_one_epoch_of_gradient_descent_by_hand():
    # Zero weights: both probabilities are 1/2, the loss is log 2, and the gradient of the bias is 0 for a balanced
    # batch. A red image adds -1/2 to the gradient of weight[0, red] and +1/2 to that of weight[1, red], half the time.
    model = classifier()
    (epoch,) = run(model, split(8), split(4), OptimizerSettings("sgd", 1.0, momentum=0.0), epochs=1)
    assert epoch.train_loss == pytest.approx(math.log(2))
    expected = torch.tensor([[0.25, 0.0, -0.25], [-0.25, 0.0, 0.25]])
    torch.testing.assert_close(model.network.weight.data, expected)
    # The margin is then 1/4 + 1/4 for the right class: validation loss log(1 + exp(-1/2)).
    assert epoch.validation_loss == pytest.approx(math.log(1 + math.exp(-0.5)))
    assert epoch.weight_penalty == 0.0
    assert (epoch.epoch, epoch.validation_accuracy, epoch.is_best, epoch.learning_rate) == (1, 1.0, True, 1.0)


def test_the_penalty_is_lambda_times_the_sum_of_squares():
    # Keras's gradient of lambda * sum(w^2) is 2 * lambda * w; on white images with both labels nothing else pulls.
    model = classifier(penalty=0.1)
    model.network.weight.data.fill_(1.0)
    model.network.bias.data.fill_(1.0)
    white = Split(torch.full((2, 4, 4, 3), 255, dtype=torch.uint8), torch.tensor([0, 1]), None, torch.arange(2), None)
    (epoch,) = run(model, white, white, OptimizerSettings("sgd", 0.5, momentum=0.0), epochs=1, batch_size=2)
    torch.testing.assert_close(model.network.weight.data, torch.full((2, 3), 1.0 - 0.5 * 2 * 0.1))
    torch.testing.assert_close(model.network.bias.data, torch.ones(2))
    assert epoch.weight_penalty == pytest.approx(0.1 * 6 * 0.9**2)
    assert epoch.validation_loss == pytest.approx(math.log(2))


def test_optimizers_have_kerass_constants():
    rmsprop = make_optimizer(classifier(), OptimizerSettings("rmsprop", 0.01, rho=0.85))
    sgd = make_optimizer(classifier(0.2), OptimizerSettings("sgd", 0.01, momentum=0.8))
    assert (rmsprop.defaults["eps"], rmsprop.defaults["alpha"]) == (1e-7, 0.85)
    assert sgd.defaults["momentum"] == 0.8
    assert [group["weight_decay"] for group in sgd.param_groups] == [0.4, 0.0]


def test_one_step_of_each_optimizer_by_hand():
    # Keras: Adam's first step is rate * g / (|g| + epsilon / sqrt(1 - 0.999)), RMSprop's is
    # rate * g / sqrt((1 - rho) * g^2 + epsilon); test_against_keras.py has more of them.
    g = 1e-5
    for settings, expected in (
        (OptimizerSettings("adam", 0.1), -0.1 * g / (g + 1e-7 / math.sqrt(0.001))),
        (OptimizerSettings("rmsprop", 0.1, rho=0.8), -0.1 * g / math.sqrt(0.2 * g**2 + 1e-7)),
        (OptimizerSettings("sgd", 0.1, momentum=0.9), -0.1 * g),
    ):
        model = classifier()
        optimizer = make_optimizer(model, settings)
        model.network.weight.grad = torch.full((2, 3), g)
        optimizer.step()
        torch.testing.assert_close(model.network.weight.data, torch.full((2, 3), expected), rtol=1e-4, atol=0)
        assert not model.network.bias.any()  # without a gradient it stays


def test_early_stopping_watches_the_weight_penalty_too():
    # Every label of the validation split is wrong, so its loss only grows; but the penalty falls faster.
    model = classifier(penalty=10.0)
    model.network.weight.data.fill_(1.0)
    epochs = list(run(model, split(8), split(8, noise=1.0), OptimizerSettings("sgd", 0.01, 0.0), patience=1))
    assert epochs[0].validation_loss < epochs[1].validation_loss < epochs[2].validation_loss
    assert [epoch.is_best for epoch in epochs] == [True] * 3


def test_it_stops_early_and_restores_the_best_weights():
    # A rate of 40 overshoots on noisy labels: some epoch is best, and later ones are worse.
    model = classifier()
    validation = split(40, seed=1, noise=0.3)
    epochs = list(
        run(model, split(40, noise=0.3), validation, OptimizerSettings("sgd", 40.0, 0.9), epochs=50, patience=4)
    )
    losses = [epoch.validation_loss for epoch in epochs]
    best = int(np.argmin(losses))
    assert len(epochs) == best + 1 + 4 < 50
    assert [epoch.epoch for epoch in epochs if epoch.is_best][-1] == best + 1
    assert assess(model, validation, PLACE)[0] == pytest.approx(losses[best])


def test_the_rate_falls_on_a_plateau():
    model = classifier()
    plateau = Plateau(factor=0.5, patience=1, minimum=0.15)
    epochs = run(model, split(8), split(8, noise=1.0), OptimizerSettings("sgd", 1.0, 0.0), epochs=8, plateau=plateau)
    # Every label of the validation split is wrong, so its loss only grows: the first epoch is the best one, and each
    # later one halves the rate.
    assert [epoch.learning_rate for epoch in epochs] == [1.0, 1.0, 0.5, 0.25, 0.15, 0.15, 0.15, 0.15]


def test_the_rate_waits_for_as_many_epochs_as_it_is_told():
    plateau = Plateau(factor=0.5, patience=3, minimum=0.0)
    epochs = run(
        classifier(), split(8), split(8, noise=1.0), OptimizerSettings("sgd", 1.0, 0.0), epochs=8, plateau=plateau
    )
    assert [epoch.learning_rate for epoch in epochs] == [1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.25]


def test_the_same_seed_gives_the_same_weights():
    def weights(seed: int) -> torch.Tensor:
        model = classifier()
        list(run(model, split(30, noise=0.2), split(8), OptimizerSettings("adam", 0.1), seed=seed))
        return model.network.weight.data

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


def test_a_consumer_may_take_one_epoch_and_leave():
    (first,) = itertools.islice(run(classifier(), split(8), split(8), OptimizerSettings("adam", 0.1), epochs=10**9), 1)
    assert first.epoch == 1
    assert first.images_per_second > 0


def test_a_loss_that_is_no_number_is_said():
    broken = classifier()
    broken.network.bias.data.fill_(float("inf"))
    with pytest.raises(Diverged, match=r"the loss is not a number after epoch 1: lower train.learning_rate \(0.1\)"):
        list(run(broken, split(8), split(8), OptimizerSettings("sgd", 0.1, 0.0)))


def test_mixed_precision_trains_as_well():
    place = Place(torch.device("cpu"), torch.bfloat16, 64)
    epochs = list(run(classifier(), split(32), split(8), OptimizerSettings("adam", 0.1), place=place, epochs=5))
    assert epochs[-1].validation_accuracy == 1.0


def test_assess_by_hand():
    model = classifier()
    model.network.bias.data = torch.tensor([math.log(3), 0.0])  # probabilities 3/4 and 1/4, whatever the image
    loss, accuracy = assess(model, split(8), PLACE)
    assert loss == pytest.approx(-(math.log(0.75) + math.log(0.25)) / 2)
    assert accuracy == 0.5
    assert model.training


@pytest.mark.parametrize(("n", "size", "sizes"), [(5, 2, [2, 3]), (6, 2, [2, 2, 2]), (1, 2, [1]), (7, 3, [3, 4])])
def test_no_batch_of_one_is_left_over(n, size, sizes):
    parts = batches(torch.arange(n), size)
    assert [len(part) for part in parts] == sizes
    assert torch.equal(torch.cat(parts), torch.arange(n))
