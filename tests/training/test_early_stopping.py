import numpy as np
import pytest
import torch
from torch import nn

from glassbox.models import Classifier
from glassbox.training.losses import assess
from tests.training.toys import ADAM, PLACE, SGD, Linear, classifier, learning, run, split


@pytest.mark.parametrize(("watch", "best"), [("penalized_loss", [True] * 3), ("loss", [True, False])])
def test_the_loss_is_watched_with_or_without_the_weight_penalty(watch, best):
    # Every label of the validation split is wrong, so its loss only grows; but the penalty falls faster.
    model = classifier(penalty=10.0)
    model.network.weight.data.fill_(1.0)
    settings = learning("sgd", 0.01, momentum=0.0)
    epochs = list(run(model, split(8), split(8, noise=1.0), settings, patience=1, watch=watch))
    losses = [epoch.validation_loss for epoch in epochs]
    assert losses == sorted(losses)
    assert [epoch.is_best for epoch in epochs] == best


def test_it_stops_early_and_restores_the_best_weights():
    # A rate of 10 overshoots on noisy labels: some epoch is best, and later ones are worse.
    model = classifier()
    validation, settings = split(40, seed=1, noise=0.3), learning("sgd", 10.0, momentum=0.9)
    epochs = list(run(model, split(40, noise=0.3), validation, settings, epochs=50, patience=4))
    losses = [epoch.validation_loss for epoch in epochs]
    best = int(np.argmin(losses))
    assert len(epochs) == best + 1 + 4 < 50
    assert [epoch.epoch for epoch in epochs if epoch.is_best][-1] == best + 1
    assert assess(model, validation, PLACE)[0] == pytest.approx(losses[best])


@pytest.mark.parametrize("keep", ["best", "last"])
def test_the_last_weights_are_kept_on_request(keep):
    # With only wrong labels to validate on, the first epoch is the best one.
    model, validation = classifier(), split(8, noise=1.0)
    *_, last = run(model, split(8), validation, SGD, epochs=4, keep=keep)
    assert (assess(model, validation, PLACE)[0] == pytest.approx(last.validation_loss)) == (keep == "last")


class TwoLayers(Linear):
    """The logistic regression on colours that a layer before it mixes, after batch norm."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1))
        self.last = nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.body(x).mean(dim=(2, 3)))


def two_layers() -> Classifier:
    model = Classifier(TwoLayers())
    model.heads = ("last",)
    return model


@pytest.mark.parametrize("settings", [ADAM, learning("sgd", 0.1, momentum=0.9), learning("rmsprop", 0.1, rho=0.9)])
def test_the_head_learns_first_and_then_all_of_it(settings):
    model = two_layers()

    def state(part: str) -> list[torch.Tensor]:
        return [value.clone() for name, value in model.state_dict().items() if name.startswith(f"network.{part}")]

    body, head, unchanged = state("body"), state("last"), []
    for _ in run(model, split(16), split(8), settings, epochs=4, head_epochs=2, keep="last"):
        unchanged.append(
            [all(map(torch.equal, before, state(part))) for part, before in (("body", body), ("last", head))]
        )
    # Running statistics belong to what is frozen.
    assert unchanged == [[True, False], [True, False], [False, False], [False, False]]


@pytest.mark.parametrize(("head_epochs", "epochs"), [(0, 3), (5, 7), (12, 3)])  # 12: only the head ever learns
def test_patience_counts_once_the_whole_network_learns(head_epochs, epochs):
    model = two_layers()
    # No loss is better by so much: every epoch but the first is a stale one.
    options = {"epochs": 12, "patience": 2, "min_delta": 100.0, "head_epochs": head_epochs}
    records = list(run(model, split(16), split(8), learning("sgd", 1e-4, momentum=0.0), **options))
    assert len(records) == epochs
    assert all(p.requires_grad for p in model.parameters()) == (head_epochs < 12)
