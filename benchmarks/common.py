"""What subjects share: the CNN paper's network, as glassbox has it and as a plain PyTorch model, and images."""

import copy
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import nn

from glassbox import models
from glassbox.config import parameters
from glassbox.config.augment import Augment
from glassbox.config.train import Train
from glassbox.data.store import Split
from glassbox.execution import compute
from glassbox.models import Classifier
from glassbox.models.preprocessing import Preprocessing
from glassbox.training import loop, optimizers, recipe, records

SIDE, CLASSES = 32, 10
MEAN, STD = (0.49, 0.48, 0.45), (0.25, 0.24, 0.26)
COLOURS = Preprocessing(MEAN, STD)  # normalised; images stay as large as they are
# The paper's best values (its figure 11).
NETWORK = {
    "conv1_filters": 32, "conv1_kernel_size": 3, "activation_func1": "relu", "leaky_relu_alpha_1": None,
    "l2_reg_1": 4.732752932786752e-05, "pool_size_1": 3, "dropout_1": 0.3483260393937059, "conv2_filters": 256,
    "conv2_kernel_size": 3, "activation_func2": "relu", "leaky_relu_alpha_2": None, "l2_reg_2": 0.003343648880295255,
    "pool_size_2": 2, "dense_units_1": 64, "dense_l2_reg_1": 0.00013916755655764762,
    "activation_func_dense": "leaky_relu", "leaky_relu_alpha_3": 0.15102871289677247,
    "dense_dropout_1": 0.25226452604864213, "batch_norm_momentum": 0.99,
}  # fmt: skip
OFF = Augment(
    flip=False, crop=0, padding="black", brightness=0.0, contrast=0.0, saturation=0.0, cutout=0, resize_first=False,
    validation_and_test=False,
)  # fmt: skip
AUGMENT = OFF.model_copy(update={"flip": True, "crop": 4, "brightness": 0.2, "contrast": 0.2, "saturation": 0.2})


def copy_project(to: Path) -> None:
    """What the pipeline needs, with the shipped parameters, in a git repository of its own."""
    for name in ("stages", "src", "networks", "data/raw", "data/weights", ".dvc"):
        skip = shutil.ignore_patterns("__pycache__", "*.egg-info", "cache", "tmp", "config.local")
        shutil.copytree(name, to / name, ignore=skip)
    for name in ("dvc.yaml", "requirements.lock", ".dvcignore", ".gitignore"):
        shutil.copy2(name, to)
    shutil.copy2("studies/digits.yaml", to / "params.yaml")
    subprocess.run(["git", "init", "-q"], cwd=to, check=True)  # asked for its state at every stage


def place() -> compute.Place:
    """Where the shipped study would compute here."""
    return compute.resolve(parameters.read("params.yaml").compute)


def some_images(n: int) -> Split:
    """Random colours in 8x8 patches, a little noise on them; speed does not depend on what they show."""
    g = np.random.default_rng(0)
    small = g.integers(20, 236, (n, 8, 8, 3))
    images = small.repeat(SIDE // 8, 1).repeat(SIDE // 8, 2) + g.integers(-20, 20, (n, SIDE, SIDE, 3))
    labels = torch.from_numpy(g.integers(0, CLASSES, n))
    return Split(torch.from_numpy(images.astype(np.uint8)), labels, None, torch.arange(n), None)


def cnn(device: torch.device, side: int = SIDE) -> Classifier:
    """The network for images of this size with fresh weights, in evaluation mode."""
    torch.manual_seed(0)
    return models.build("cnn", NETWORK, COLOURS, side, CLASSES).to(device).eval()


def training(optimizer: str = "adam", learning_rate: float = 1e-3, **others: object) -> Train:
    """The shipped study's section `train` with this optimizer."""
    shipped = parameters.read("studies/digits.yaml").train
    return shipped.model_copy(update={"optimizer": optimizer, "learning_rate": learning_rate, **others})


def training_epochs(
    classifier: Classifier, split: Split, place: compute.Place, how: Augment, batch: int, settings: Train | None = None
) -> Iterator[records.Epoch]:
    """Of `fit`, as many as are read; two images validate, so that training is what takes the time."""
    few = Split(split.images[:2], split.labels[:2], None, split.index[:2], None)
    made = recipe.Recipe(epochs=10**6, batch_size=batch, augment=how, seed=0, patience=10**6, keep="last")
    optimizer = optimizers.make_optimizer(classifier, settings or training())
    return loop.fit(classifier, split, few, optimizer, made, place=place)


class Normalize(nn.Module):
    """(x - mean) / std."""

    def __init__(self, mean: torch.Tensor, std: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x - self.mean) / self.std


def usual(classifier: Classifier) -> nn.Sequential:
    """The same layers and weights as people write them: PyTorch's own, one after the other, in its default memory
    order."""
    n = classifier.network
    blocks = [layer for b in (n.block1, n.block2) for layer in (b.conv, b.activation, b.norm, b.pool)]
    drop1, drop2 = nn.Dropout(n.dropout1.p), nn.Dropout(n.dropout2.p)
    blocks.insert(4, drop1)
    model = nn.Sequential(
        Normalize(classifier.mean, classifier.std), *blocks, nn.Flatten(), n.dense, n.activation, drop2, n.output
    )
    return copy.deepcopy(model).to(memory_format=torch.contiguous_format).eval()


def check_same(theirs: np.ndarray, ours: np.ndarray) -> None:
    """Two ways to compute the same maps (N, H, W) differ by rounding: by 1e-4 of their length, and by 1e-2 in a map
    where rounding decides on which side of a kink, of ReLU or of a maximum, one of its gradients is taken."""
    lengths = np.linalg.norm((theirs - ours).reshape(len(ours), -1), axis=1)
    whole = np.linalg.norm(theirs.reshape(len(ours), -1), axis=1)
    relative = lengths / whole.clip(min=np.finfo(np.float32).tiny)  # a map may be all zero
    assert np.median(relative) < 1e-4, relative
    assert relative.max() < 1e-2, relative
