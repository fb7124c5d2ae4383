"""Classifiers as files: their weights and card, written and read; and what is made from a card again."""

import copy
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from glassbox.config.model import Model
from glassbox.config.types import NETWORK_FILES
from glassbox.core import files
from glassbox.core.errors import UserError
from glassbox.data.store import Description
from glassbox.models.building import build, contradictions, digest_of_weights
from glassbox.models.card import Card
from glassbox.models.class_names import Order
from glassbox.models.classifier import Classifier
from glassbox.models.layers import device_of, layers, load_tensors, totals
from glassbox.models.networks import bare, source_of
from glassbox.models.networks.in_file import FileNetwork
from glassbox.models.preprocessing import Preprocessing

WEIGHTS = "model.safetensors"
CARD = "model.json"
NETWORK = "network"  # name, before its ending, of a file that holds the network
DIGEST, NETWORK_DIGEST = "weights_sha256", "network_sha256"  # keys in the card


def describe(model: Model, classifier: Classifier, data: Description, choices: list[dict[str, Any]]) -> Card:
    """The card of a classifier that was trained on `data`."""
    return Card(
        name=model.name,
        arguments=model.arguments,
        weights=model.weights,
        classes=classifier.classes or data.classes,
        image_size=data.image_size,
        preprocessing={k: list(v) if isinstance(v, tuple) else v for k, v in vars(classifier.preprocessing).items()},
        data_digest=data.digest,
        layers=[asdict(row) for row in layers(classifier.network, classifier.input_size or data.image_size)],
        parameters=totals(classifier.network),
        choices=choices,
        began_fresh=list(classifier.began_fresh),
        weights_digest=digest_of_weights(model),
        outputs=None if classifier.outputs is None else classifier.outputs.tolist(),
        contradictions=[*contradictions(model, data.image_size), *classifier.notes],
    )


def rebuilt(card: Card, file: str | None = None) -> Classifier:
    """The classifier of a card, with fresh weights from torch's global random state; or with the network in a file."""
    how = Preprocessing(**{k: tuple(v) if isinstance(v, list) else v for k, v in card.preprocessing.items()})
    classifier = build(card.name, card.arguments, how, card.image_size, len(card.classes), file)
    source_of(card.name).suit(classifier.network, bare(card.name), card.weights)
    classifier.classes = card.classes
    if card.outputs is not None:
        classifier.answer_in(Order(tuple(card.outputs), card.classes))
    return classifier


def untrained(classifier: Classifier, card: Card, seed: int) -> Classifier | None:
    """A classifier that has learnt nothing, in evaluation mode, with the network, device and temperature of another,
    which `card` describes. Its weights are fresh ones by a seed. A file that holds a network does not say how they are
    drawn: of such a network each tensor has the learnt values in random order, so that it keeps their distribution.
    None if its weights cannot be changed."""
    if not classifier.has_gradients:
        return None
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if isinstance(classifier.network, FileNetwork):
            other = copy.deepcopy(classifier)
            with torch.no_grad():
                for tensor in (*other.network.parameters(), *other.network.buffers()):
                    order = torch.randperm(tensor.numel()).to(tensor.device)
                    tensor.copy_(tensor.flatten()[order].view(tensor.shape))
        else:
            other = rebuilt(card).to(device_of(classifier))
    other.temperature = classifier.temperature
    return other.eval()


def save(folder: str | Path, classifier: Classifier, card: Card) -> None:
    """Write weights (safetensors) and card (JSON), and, if the network is one in a file, that file."""
    folder, content = Path(folder), asdict(card)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in classifier.state_dict().items()}
    files.write_tensors(folder / WEIGHTS, tensors)
    content[DIGEST] = files.sha256(folder / WEIGHTS)
    if isinstance(classifier.network, FileNetwork):
        network = folder / f"{NETWORK}{NETWORK_FILES[card.name]}"
        files.write_bytes(network, classifier.network.content)
        content[NETWORK_DIGEST] = files.sha256(network)
    files.write_json(folder / CARD, content, checked=True)


def _check_digest(path: Path, recorded: str | None) -> None:
    if files.sha256(path) != recorded:
        raise RuntimeError(f"its SHA-256 is not that in {CARD}")


def load(folder: str | Path, device: torch.device | str = "cpu", temperature: float = 1.0) -> tuple[Classifier, Card]:
    """A saved classifier in evaluation mode. Its logits are divided by the temperature, see `predictions.temperature`.

    Raises:
        UserError: a file is missing, damaged, or belongs to another network.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    value = files.read_json(Path(folder) / CARD)
    weights = path = Path(folder) / WEIGHTS
    network = None
    try:
        _check_digest(path, value.pop(DIGEST, None))
        if (recorded := value.pop(NETWORK_DIGEST, None)) is not None:
            network = path = Path(folder) / f"{NETWORK}{NETWORK_FILES[value['name']]}"
            _check_digest(path, recorded)
        card = Card(**{key: tuple(v) if key == "classes" else v for key, v in value.items()})
        classifier = rebuilt(card, network and str(network))
        path = weights
        load_tensors(classifier, load_file(path))
        classifier.temperature = temperature
    except (OSError, SafetensorError, AttributeError, KeyError, TypeError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path} cannot be read ({reason}): 'dvc repro train --force' makes it anew") from None
    return classifier.to(device).eval(), card
