"""What tests of training share: a logistic regression on colours, and red and blue images."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from glassbox.config.augment import Augment
from glassbox.config.train import Train
from glassbox.data.store import Split
from glassbox.execution.compute import Place
from glassbox.models import Classifier
from glassbox.provenance.resume import Checkpoint
from glassbox.training.loop import fit
from glassbox.training.optimizers import make_optimizer
from glassbox.training.recipe import Recipe
from glassbox.training.records import Epoch

PLACE = Place(torch.device("cpu"), torch.float32, 64)
PLAIN = Augment(
    flip=False, crop=0, padding="black", brightness=0.0, contrast=0.0, saturation=0.0, cutout=0, resize_first=False,
    validation_and_test=False,
)  # fmt: skip
CHANGED = Augment(
    flip=True, crop=1, padding="black", brightness=0.2, contrast=0.2, saturation=0.2, cutout=2, resize_first=False,
    validation_and_test=True,
)  # fmt: skip


def learning(optimizer: str, rate: float, **changes: Any) -> Train:
    """The section `train`, as plain as can be but for an optimizer, its learning rate and changes."""
    others = {
        "epochs": 3, "head_epochs": 0, "workers": 1, "batch_size": 8, "base_batch_size": None, "momentum": None,
        "nesterov": False, "rho": None, "weight_decay": 0.0, "decay_biases": True, "bias_rate": 1.0,
        "label_smoothing": 0.0, "class_weights": None, "sampling": "shuffle", "patience": 99, "watch": "loss",
        "min_delta": 0.0, "keep": "best", "ema_decay": None, "schedule": "constant", "warmup": 0.3,
        "lr_factor": 0.5, "lr_patience": 3, "min_learning_rate": 0.0,
    }  # fmt: skip
    return Train(optimizer=optimizer, learning_rate=rate, **(others | changes))


SGD = learning("sgd", 1.0, momentum=0.0)
ADAM = learning("adam", 0.1)


class Linear(nn.Module):
    """A logistic regression on the mean colour, with a penalty on its weights unless that is 0."""

    def __init__(self, penalty: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2, 3))
        self.bias = nn.Parameter(torch.zeros(2))
        self.penalty = penalty

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(dim=(2, 3)) @ self.weight.T + self.bias

    def penalties(self):
        return ((self.weight, self.penalty),) if self.penalty else ()


def classifier(penalty: float = 0.0) -> Classifier:
    return Classifier(Linear(penalty))


def images_of(pixels: np.ndarray | torch.Tensor, labels: np.ndarray | torch.Tensor) -> Split:
    """A split of images (N, H, W, 3) uint8 and labels (N,)."""
    return Split(torch.as_tensor(pixels), torch.as_tensor(labels), None, torch.arange(len(labels)), None)


def split(n: int, seed: int = 0, noise: float = 0.0) -> Split:
    """Red images are of class 0, blue ones of class 1; `noise` is the share of wrong labels."""
    labels = np.arange(n) % 2
    images = np.zeros((n, 4, 4, 3), np.uint8)
    images[labels == 0, ..., 0] = 255
    images[labels == 1, ..., 2] = 255
    wrong = np.random.default_rng(seed).random(n) < noise
    return images_of(images, np.where(wrong, 1 - labels, labels))


def run(
    model: Classifier,
    train: Split,
    validation: Split,
    settings: Train,
    *,
    place: Place = PLACE,
    checkpoint: Checkpoint | None = None,
    extra_loss: Callable[[], torch.Tensor] | None = None,
    **options: object,
) -> Iterator[Epoch]:
    """`fit` with the optimizer of these settings and a recipe of these options."""
    recipe = Recipe(**{"epochs": 3, "batch_size": 8, "patience": 99, "seed": 0, "augment": PLAIN} | options)
    optimizer, also = make_optimizer(model, settings), {"checkpoint": checkpoint, "extra_loss": extra_loss}
    return fit(model, train, validation, optimizer, recipe, place=place, **also)
