"""A network with its normalisation and its record: what is trained, saved, loaded, predicted with and explained."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from glassbox import files
from glassbox.data.batches import to_float
from glassbox.data.store import Description
from glassbox.errors import UserError
from glassbox.models.cnn import Hyperparameters, TwoBlockCNN
from glassbox.models.layers import evaluating, layers, totals

WEIGHTS = "model.safetensors"
CARD = "model.json"


@dataclass(frozen=True)
class Card:
    """Everything but the weights: enough to build the network again and to say what it was made from.

    Attributes:
        name: of the network.
        hyperparameters: of the network.
        classes: names, in output order.
        image_size: side of the input, pixels.
        mean, std: per channel, on the scale 0..1: subtracted and divided by inside the classifier.
        data_digest: SHA-256 of the data it was trained on.
        layers: name, kind, shape of the output and numbers of parameters of every layer.
        parameters: their sums.
        choices: value and origin of every hyperparameter of network and training.
    """

    name: str
    hyperparameters: dict[str, Any]
    classes: tuple[str, ...]
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    data_digest: str
    layers: list[dict[str, Any]]
    parameters: dict[str, int]
    choices: list[dict[str, Any]]


class Classifier(nn.Module):
    """Normalisation followed by a network, so that explainers and masks work on plain colours.

    Shape: images (N, 3, H, W) float in 0..1 to logits (N, K).
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, network: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, 3, 1, 1))
        # A channel without variation (grey images have none in colour) would divide by zero.
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(1, 3, 1, 1).clamp_min(1e-3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.network((x - self.mean) / self.std)


def normalization(name: str, data: Description) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation to normalise colours with, by name.

    Args:
        name: "data", the training images' own per-channel statistics, or "none", which keeps colours in 0..1.
        data: whose statistics.
    """
    if name == "none":
        return (0.0,) * 3, (1.0,) * 3
    assert name == "data"
    return data.mean, data.std


def build(
    name: str, hyperparameters: dict[str, Any], image_size: int, n_classes: int, mean: Any, std: Any
) -> Classifier:
    """A classifier by name, with fresh weights from torch's global random state, in channels_last memory order.

    A new network is one file and one line here.
    """
    networks = {"cnn": lambda: TwoBlockCNN(Hyperparameters(**hyperparameters), image_size, n_classes)}
    if name not in networks:
        raise UserError(f"model.name is {name!r}: it must be one of {', '.join(networks)}")
    return Classifier(networks[name](), mean, std).to(memory_format=torch.channels_last)


def fresh(
    name: str, hyperparameters: dict[str, Any], normalization_name: str, data: Description, seed: int,
    device: torch.device,
) -> Classifier:  # fmt: skip
    """A classifier for the data, on the device, with fresh weights from a seed, which also seeds what torch draws
    next."""
    torch.manual_seed(seed)
    statistics = normalization(normalization_name, data)
    return build(name, hyperparameters, data.image_size, len(data.classes), *statistics).to(device)


def describe(
    name: str, hyperparameters: dict[str, Any], classifier: Classifier, data: Description, choices: list[dict[str, Any]]
) -> Card:
    """The card of a classifier that was trained on `data`."""
    mean, std = (tuple(buffer.flatten().tolist()) for buffer in (classifier.mean, classifier.std))
    rows = layers(classifier.network, data.image_size)
    return Card(
        name, hyperparameters, data.classes, data.image_size, mean, std, data.digest, [asdict(row) for row in rows],
        totals(classifier.network), choices,
    )  # fmt: skip


def save(folder: str | Path, classifier: Classifier, card: Card) -> None:
    """Write weights (safetensors) and card (JSON)."""
    from safetensors.torch import save_file

    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in classifier.state_dict().items()}
    with files.replacing(Path(folder) / WEIGHTS) as partial:
        save_file(tensors, partial)
    files.write_json(Path(folder) / CARD, asdict(card))


def load(folder: str | Path, device: torch.device | str = "cpu") -> tuple[Classifier, Card]:
    """A saved classifier in evaluation mode.

    Raises:
        UserError: a file is missing, damaged, or belongs to another network.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    value = files.read_json(Path(folder) / CARD)
    path = Path(folder) / WEIGHTS
    try:
        card = Card(**{key: tuple(v) if key in ("classes", "mean", "std") else v for key, v in value.items()})
        classifier = build(card.name, card.hyperparameters, card.image_size, len(card.classes), card.mean, card.std)
        classifier.load_state_dict(load_file(path))
    except (OSError, SafetensorError, TypeError, RuntimeError, json.JSONDecodeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path} cannot be read ({reason}): 'dvc repro train --force' makes it anew") from None
    return classifier.to(device).eval(), card


@torch.inference_mode()
def predict(
    classifier: nn.Module, images: torch.Tensor, batch_size: int, progress: Callable[[int], object] = int
) -> torch.Tensor:
    """Logits of many images, batch by batch, in float32.

    Args:
        classifier: on any device; left in the mode it was in.
        images: (N, H, W, 3) uint8 or (N, 3, H, W) float in 0..1, on any device.
        batch_size: images in one forward pass.
        progress: called with the number of images of each batch that is done.

    Returns:
        (N, K) float32 on the CPU.
    """
    device = next(classifier.parameters()).device
    outputs = []
    with evaluating(classifier):
        for batch in images.split(batch_size):
            batch = batch.to(device)
            outputs.append(classifier(to_float(batch) if batch.dtype == torch.uint8 else batch).float().cpu())
            progress(len(batch))
    return torch.cat(outputs)
