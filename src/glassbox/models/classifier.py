"""A classifier: a network with its normalisation and card. It is trained, saved, loaded and explained."""

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from glassbox.config.model import Model, first_drawn
from glassbox.config.space import Searched
from glassbox.config.types import TUNED, Precision
from glassbox.core import files
from glassbox.core.errors import UserError
from glassbox.data.batches import to_float
from glassbox.data.store import Description
from glassbox.execution import compute
from glassbox.execution.compute import refusals
from glassbox.models.card import Card
from glassbox.models.feature_maps import as_maps, last_feature_maps
from glassbox.models.layers import evaluating, layers, load_tensors, totals
from glassbox.models.networks import bare, source_of
from glassbox.models.networks.base import built
from glassbox.models.preprocessing import FIXED, Preprocessing, listed
from glassbox.models.weights import FILES, Fitted, Weights, digest, fit, no_file, read
from glassbox.provenance.resume import Arrays, Keep, unkept

WEIGHTS = "model.safetensors"
CARD = "model.json"
DIGEST = "weights_sha256"  # key in the card


class Classifier(nn.Module):
    """Normalisation and resizing followed by a network, so that explainers and masks work on plain colours of the
    images' own size.

    Args:
        network: any module that takes (N, 3, H, W) and gives logits (N, K). It may have `penalties()`,
            `affine_stem()` and `grad_cam_layer()`, see `networks.cnn.TwoBlockCNN`.
        mean, std, input_size, interpolation, crop: see `preprocessing.Preprocessing`.
        classes: names, in the order of the logits.
        grad_cam_layer: name of a module of the network; None finds one, see `grad_cam_layer`.

    Shape: images (N, 3, H, W) float in 0..1 to logits (N, K).
    """

    mean: torch.Tensor
    std: torch.Tensor
    # Divisor of the network's logits (Guo et al. 2017): 1 while it is trained and evaluated. `load` sets the study's,
    # so that the softmax is the same probability everywhere.
    temperature = 1.0
    name: str | None = None  # as in `model.name`, if it was made by name
    heads: tuple[str, ...] = ()  # names of the last layers, to train them alone
    began_fresh: Sequence[str] = ()  # tensors that the weights that training began with did not give
    notes: Sequence[str] = ()  # sentences about these weights

    def __init__(
        self,
        network: nn.Module,
        mean: tuple[float, ...] = (0.0, 0.0, 0.0),
        std: tuple[float, ...] = (1.0, 1.0, 1.0),
        input_size: int | None = None,
        *,
        interpolation: Literal["bilinear", "bicubic"] = "bilinear",
        crop: float = 1.0,
        classes: tuple[str, ...] = (),
        grad_cam_layer: str | None = None,
    ) -> None:
        super().__init__()
        self.network, self.classes = network, classes
        self.preprocessing = Preprocessing(tuple(mean), tuple(std), input_size, interpolation, crop)
        self._grad_cam_name = grad_cam_layer
        self.normalized = nn.Identity()
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, 3, 1, 1))
        # A channel without variation (grey images have none in colour) would divide by zero.
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(1, 3, 1, 1).clamp_min(1e-3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # Row by row, with the three channels' values repeated: three at a time the processor takes ten times as long.
        n, c, h, w = x.shape
        mean, std = self.mean.flatten().repeat(w), self.std.flatten().repeat(w)
        rows = (x.permute(0, 2, 3, 1).reshape(n, h, w * c) - mean) / std
        x = rows.view(n, h, w, c).permute(0, 3, 1, 2)
        logits = self.network(self.normalized(self.preprocessing.resized(x)))
        if self.temperature == 1:
            return logits
        return logits.to(torch.promote_types(logits.dtype, torch.float32)) / self.temperature

    @property
    def input_size(self) -> int | None:
        """Side of the network's input, pixels; None takes images as they are."""
        return self.preprocessing.input_size

    def affine_stem(self) -> nn.Module:
        """The last layer known to be reached from colours by affine maps alone: of the network, or before it."""
        of_network = getattr(self.network, "affine_stem", None)
        return of_network() if of_network else self.normalized

    def grad_cam_layer(self, side: int) -> nn.Module:
        """The layer whose output Grad-CAM weighs for images of `side` pixels: the named one, else the network's own
        choice, else the last one with features of places, see `feature_maps.last_feature_maps`.

        Raises:
            UserError: there is none.
        """
        if self._grad_cam_name is None and hasattr(self.network, "grad_cam_layer"):
            return self.network.grad_cam_layer()
        if self._grad_cam_name is None:
            size = self.input_size or side
            layer = last_feature_maps(self.network, size)
            if layer is None:
                name = self.name or type(self.network).__name__
                raise UserError(
                    "Grad-CAM needs features of more than one place, feature maps or tokens, that nothing bypasses on "
                    f"the way to the output, and {name} on {size} x {size} pixels has none: take grad_cam out of "
                    "explain.explainers, or change model.name or model.input_size; in Python, name a layer "
                    "(grad_cam_layer)"
                )
            self._grad_cam_name = next(name for name, module in self.network.named_modules() if module is layer)
        return self.network.get_submodule(self._grad_cam_name)

    def feature_maps(self, features: torch.Tensor) -> torch.Tensor:
        """The output of `grad_cam_layer`, or a gradient of it, as (N, C, h, h), whatever its layout.

        Raises:
            UserError: it is laid out in no known way.
        """
        maps = as_maps(features, getattr(self.network, "num_prefix_tokens", None))
        if maps is None:
            raise UserError(
                f"Grad-CAM's layer has an output of shape {tuple(features.shape)}, but needs (N, C, h, h), "
                "(N, h, h, C) or tokens (N, T, C) of a square of places"
            )
        return maps

    def train_head_only(self, frozen: bool) -> None:
        """In training mode, freeze all but the last layers, or undo that. Frozen layers keep their weights and running
        statistics, and drop nothing."""
        self.requires_grad_(not frozen)
        self.train(not frozen)
        for name in self.heads:
            head = self.network.get_submodule(name)
            if not isinstance(head, nn.Linear):  # a convolution, in a block of its own with its dropout
                head = self.network.get_submodule(name.rpartition(".")[0])
            head.requires_grad_(True)
            head.train()


def preprocessing(model: Model, data: Description) -> Preprocessing:
    """What `model.normalization` and `model.input_size` ask for. Names of the normalisation: "data", the training
    images' own statistics per channel; "weights", all that the weights say of themselves; "imagenet"; "half", which
    brings colours to -1..1; "none", which keeps them in 0..1.

    Raises:
        UserError: the weights say nothing of themselves.
    """
    if model.normalization != "weights":
        mean, std = (data.mean, data.std) if model.normalization == "data" else FIXED[model.normalization]
        return Preprocessing(mean, std, model.input_size)
    how = _made_for(model)
    if how is None:
        raise UserError(
            f"model.normalization is weights, but of {model.weights} (model.weights) nothing is known: take data, "
            "imagenet, half or none"
        )
    return replace(how, input_size=model.input_size or how.input_size)


def _made_for(model: Model) -> Preprocessing | None:
    if model.weights is None:
        return None
    return source_of(model.name).made_for(bare(model.name), model.weights)


def contradictions(model: Model, image_size: int) -> list[str]:
    """Sentences about colours and size of the images, if they are not those of the weights' own training. Training can
    start from such weights, so nothing is refused. Only weights of a registry are known."""
    how = _made_for(model)
    if how is None or model.normalization == "weights":
        return []
    sentences: list[str] = []
    size, colours = model.input_size or image_size, (how.mean, how.std)
    if FIXED.get(model.normalization) != colours:
        same = next((name for name, values in FIXED.items() if values == colours), "weights")
        sentences.append(
            f"model.normalization is {model.normalization}: the weights {model.weights} of {model.name} were trained "
            f"with mean {listed(how.mean)} and std {listed(how.std)}, which {same} gives."
        )
    if size != how.input_size:
        sentences.append(
            f"The network takes images of {size} x {size} pixels (model.input_size or data.image_size): the weights "
            f"{model.weights} of {model.name} were made for {how.input_size} x {how.input_size}."
        )
    return sentences


def check(model: Model, space: Sequence[Searched], image_size: int, explainers: Collection[str] = ()) -> list[str]:
    """Check, before anything is trained, that there is such a network and such weights, that it takes its arguments,
    and that the explainers of these names can explain it.

    Args:
        space: what is searched. Of each parameter the first value is tried that goes with the others.

    Returns:
        `contradictions`.

    Raises:
        UserError: there is not, or it cannot.
    """
    model = first_drawn(model, space)
    source = source_of(model.name)
    source.check_name(bare(model.name))
    if model.weights is not None and model.weights.endswith(FILES):
        if not Path(model.weights).exists():
            raise no_file(model.weights)
    elif model.weights is not None:
        source.check_weights(bare(model.name), model.weights)
    how = _made_for(model) if model.normalization == "weights" else None
    size = model.input_size or (how and how.input_size) or image_size
    classifier = build(model.name, model.arguments, Preprocessing(input_size=size), image_size, 2)
    if "grad_cam" in explainers:
        classifier.grad_cam_layer(image_size)
    return contradictions(model, image_size)


def check_data(model: Model, data: Description) -> list[str]:
    """Check that weights in a file fit the data.

    Returns:
        Sentences about the head and the classes of the data; see `weights.Fitted`.

    Raises:
        UserError: they do not.
    """
    if TUNED in (model.name, model.weights, *model.arguments.values()) or not from_file(model.weights):
        return []
    return fresh(model, data, 0, torch.device("cpu")).notes


def from_file(weights: str | None) -> bool:
    """Whether `model.weights` names a file."""
    return weights is not None and weights.endswith(FILES)


def build(name: str, arguments: Mapping[str, Any], how: Preprocessing, image_size: int, n_classes: int) -> Classifier:
    """A classifier by `model.name`, with fresh weights from torch's global random state, in channels_last memory order.

    Raises:
        UserError: there is no such network, or it does not take these arguments or images of that size.
    """
    source = source_of(name)
    network = built(source, name, bare(name), arguments, how.input_size or image_size, n_classes)
    classifier = Classifier(network, **vars(how))
    classifier.name, classifier.heads = name, source.heads(network, n_classes)
    return classifier.to(memory_format=torch.channels_last)


def fresh(model: Model, data: Description, seed: int, device: torch.device) -> Classifier:
    """A classifier for the data, on the device, before training: with fresh weights from a seed, which also seeds what
    torch draws next, or those that `model.weights` names.

    The head keeps its fresh weights if the given one has another number of classes or several layers; so does the first
    convolution of the "cifar" stem if the given one is larger: `classifier.began_fresh` names these tensors. If the
    weights name their classes, the head's rows are put in the order of `classes`, those of the data.

    Raises:
        UserError: there is no such network, or its weights are missing or do not fit.
    """
    how, source, name = preprocessing(model, data), source_of(model.name), bare(model.name)
    size = how.input_size or data.image_size

    def made(side: int) -> Classifier:
        torch.manual_seed(seed)
        with device:  # its weights are drawn there
            sized = replace(how, input_size=side)
            classifier = build(model.name, model.arguments, sized, data.image_size, len(data.classes))
        classifier.preprocessing = how
        return classifier

    classifier = made(size)
    if model.weights is None:
        return classifier
    given = read(model.weights) if from_file(model.weights) else source.weights(name, model.weights)
    try:
        fitted = _fit(given, classifier, model, data)
        load_tensors(classifier.network, fitted.tensors, strict=False)
    except UserError:
        # Position embeddings come in the size that weights were trained with, and change with the network.
        made_for = _made_for(model)
        if made_for is None or made_for.input_size in (None, size) or not source.has_size(name):
            raise
        classifier = made(made_for.input_size)
        fitted = _fit(given, classifier, model, data)
        load_tensors(classifier.network, fitted.tensors, strict=False)
        source.resize(classifier.network, size)
    source.suit(classifier.network, name, model.weights)
    classifier.began_fresh = fitted.fresh
    classifier.notes = fitted.notes if from_file(model.weights) else []
    return classifier


def _fit(given: Weights, classifier: Classifier, model: Model, data: Description) -> Fitted:
    network = classifier.network
    return fit(
        given,
        network.state_dict(),
        classifier.heads,
        source_of(model.name).stem(network, model.arguments),
        which=model.weights,
        network=model.name,
        classes=data.classes,
    )


def digest_of_weights(model: Model) -> str | None:
    """SHA-256 of the file of starting weights; None if they are not from a file.

    Raises:
        UserError: the file cannot be read.
    """
    return digest(model.weights) if from_file(model.weights) else None


def describe(model: Model, classifier: Classifier, data: Description, choices: list[dict[str, Any]]) -> Card:
    """The card of a classifier that was trained on `data`."""
    return Card(
        name=model.name,
        arguments=model.arguments,
        weights=model.weights,
        classes=data.classes,
        image_size=data.image_size,
        preprocessing={k: list(v) if isinstance(v, tuple) else v for k, v in vars(classifier.preprocessing).items()},
        data_digest=data.digest,
        layers=[asdict(row) for row in layers(classifier.network, classifier.input_size or data.image_size)],
        parameters=totals(classifier.network),
        choices=choices,
        began_fresh=list(classifier.began_fresh),
        contradictions=[*contradictions(model, data.image_size), *classifier.notes],
    )


def rebuilt(card: Card) -> Classifier:
    """The classifier of a card, with fresh weights from torch's global random state."""
    how = Preprocessing(**{k: tuple(v) if isinstance(v, list) else v for k, v in card.preprocessing.items()})
    classifier = build(card.name, card.arguments, how, card.image_size, len(card.classes))
    source_of(card.name).suit(classifier.network, bare(card.name), card.weights)
    classifier.classes = card.classes
    return classifier


def save(folder: str | Path, classifier: Classifier, card: Card) -> None:
    """Write weights (safetensors) and card (JSON)."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in classifier.state_dict().items()}
    files.write_tensors(Path(folder) / WEIGHTS, tensors)
    files.write_json(Path(folder) / CARD, asdict(card) | {DIGEST: files.sha256(Path(folder) / WEIGHTS)}, checked=True)


def load(folder: str | Path, device: torch.device | str = "cpu", temperature: float = 1.0) -> tuple[Classifier, Card]:
    """A saved classifier in evaluation mode. Its logits are divided by the temperature, see `predictions.temperature`.

    Raises:
        UserError: a file is missing, damaged, or belongs to another network.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    value = files.read_json(Path(folder) / CARD)
    path = Path(folder) / WEIGHTS
    try:
        if files.sha256(path) != value.pop(DIGEST, None):
            raise RuntimeError(f"its SHA-256 is not that in {CARD}")
        card = Card(**{key: tuple(v) if key == "classes" else v for key, v in value.items()})
        classifier = rebuilt(card)
        load_tensors(classifier, load_file(path))
        classifier.temperature = temperature
    except (OSError, SafetensorError, AttributeError, TypeError, RuntimeError, json.JSONDecodeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path} cannot be read ({reason}): 'dvc repro train --force' makes it anew") from None
    return classifier.to(device).eval(), card


@torch.inference_mode()
def predict(
    classifier: nn.Module,
    images: torch.Tensor,
    batch_size: int,
    progress: Callable[[int], object] = int,
    prepare: Callable[[torch.Tensor], torch.Tensor] | None = None,
    precision: Precision = "float32",
    keep: Keep = unkept,
) -> torch.Tensor:
    """Logits of many images, batch by batch.

    Args:
        classifier: on any device; left in the mode it was in.
        images: (N, H, W, 3) uint8 or (N, 3, H, W) float in 0..1, on any device; or what `prepare` makes images of.
        batch_size: images in one forward pass.
        progress: called with the number of images after each batch.
        prepare: makes B rows of `images`, on the classifier's device, to (B, 3, H, W) float in 0..1.
        precision: number format of the network's products.
        keep: stores the logits of each batch.

    Returns:
        (N, K) float32 on the CPU.

    Raises:
        UserError: the device refuses; see `compute.refusals`.
    """
    device = next(classifier.parameters()).device

    def items() -> Iterator[tuple[None, torch.Tensor]]:
        for batch in images.split(batch_size):
            yield None, prepare(batch.to(device)) if prepare else batch

    # One tensor for all: many small ones would part memory into pieces that are too small for the next batch.
    outputs, done = torch.empty(0), 0
    with evaluating(classifier):
        for arrays in keep.each("logits", partial(_logits, precision, batch_size), classifier, items()):
            logits = torch.from_numpy(arrays["logits"])
            outputs = outputs if done else torch.empty(len(images), logits.shape[1])
            outputs[done : done + len(logits)] = logits
            done += len(logits)
            progress(len(logits))
    return outputs


@torch.inference_mode()
def _logits(precision: Precision, batch_size: int, classifier: nn.Module, _: None, batch: torch.Tensor) -> Arrays:
    """Logits of a batch (B, H, W, 3) uint8 or (B, 3, H, W) float, on any device."""
    device = next(classifier.parameters()).device
    batch = batch.to(device)
    x = to_float(batch) if batch.dtype == torch.uint8 else batch
    side = getattr(classifier, "input_size", None) or x.shape[2]
    number = compute.number(precision, device)
    with refusals(device, "compute.batch_size", batch_size, side), compute.autocast(device, number):
        return {"logits": classifier(x).float().cpu().numpy()}


def probabilities(classifier: nn.Module, images: torch.Tensor, batch_size: int, **options: Any) -> torch.Tensor:
    """Softmax of `predict`, in float64: (N, K) on the CPU."""
    return predict(classifier, images, batch_size, **options).double().softmax(dim=1)
