"""A classifier: a network with its normalisation and card. It is trained, saved, loaded and explained."""

import json
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from glassbox.config.types import CNN, Precision
from glassbox.core import files
from glassbox.core.errors import UserError
from glassbox.data.batches import resized, to_float
from glassbox.data.store import Description
from glassbox.execution import compute
from glassbox.execution.compute import refusals
from glassbox.models.card import Card, Spec
from glassbox.models.cnn import Hyperparameters, TwoBlockCNN
from glassbox.models.layers import evaluating, last_feature_maps, layers, load_tensors, totals
from glassbox.models.weights import FILES, digest
from glassbox.provenance.resume import Arrays, Keep, unkept

WEIGHTS = "model.safetensors"
CARD = "model.json"
DIGEST = "weights_sha256"  # key in the card


class Classifier(nn.Module):
    """Normalisation and resizing followed by a network, so that explainers and masks work on plain colours of the
    images' own size.

    Args:
        network: any module that takes (N, 3, H, W) and gives logits (N, K). To be trained it has `head()` and
            `penalties()`, see `cnn.TwoBlockCNN`; it may have `affine_stem()` and `grad_cam_layer()`.
        mean, std: per channel, on the scale 0..1.
        input_size: side in pixels to which images are resized, bilinearly, for the network; None keeps their size.
        classes: names, in the order of the logits.
        grad_cam_layer: name of a module of the network; None finds one, see `grad_cam_layer`.

    Shape: images (N, 3, H, W) float in 0..1 to logits (N, K).
    """

    mean: torch.Tensor
    std: torch.Tensor
    # Divisor of the network's logits (Guo et al. 2017): 1 while it is trained and evaluated. `load` sets the study's,
    # so that the softmax is the same probability everywhere.
    temperature = 1.0

    def __init__(
        self,
        network: nn.Module,
        mean: tuple[float, ...] = (0.0, 0.0, 0.0),
        std: tuple[float, ...] = (1.0, 1.0, 1.0),
        input_size: int | None = None,
        *,
        classes: tuple[str, ...] = (),
        grad_cam_layer: str | None = None,
    ) -> None:
        super().__init__()
        self.network, self.input_size, self.classes = network, input_size, classes
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
        if self.input_size is not None and self.input_size != x.shape[-1]:
            x = resized(x, self.input_size)
        logits = self.network(self.normalized(x))
        if self.temperature == 1:
            return logits
        return logits.to(torch.promote_types(logits.dtype, torch.float32)) / self.temperature

    def affine_stem(self) -> nn.Module:
        """The last layer known to be reached from colours by affine maps alone: of the network, or before it."""
        of_network = getattr(self.network, "affine_stem", None)
        return of_network() if of_network else self.normalized

    def grad_cam_layer(self, side: int) -> nn.Module:
        """The layer whose output Grad-CAM weighs for images of `side` pixels: the named one, else the network's own
        choice, else the last one with feature maps, see `layers.last_feature_maps`.

        Raises:
            UserError: there is none.
        """
        if self._grad_cam_name is None and hasattr(self.network, "grad_cam_layer"):
            return self.network.grad_cam_layer()
        if self._grad_cam_name is None:
            size = self.input_size or side
            layer = last_feature_maps(self.network, size)
            if layer is None:
                name = getattr(self.network, "name", type(self.network).__name__)
                raise UserError(
                    "Grad-CAM needs feature maps of more than one place that nothing bypasses on the way to the output,"
                    f" and {name} on {size} x {size} pixels has none: take grad_cam out of explain.explainers, or "
                    "change model.name or model.input_size; in Python, name a layer (grad_cam_layer)"
                )
            self._grad_cam_name = next(name for name, module in self.network.named_modules() if module is layer)
        return self.network.get_submodule(self._grad_cam_name)

    def train_head_only(self, frozen: bool) -> None:
        """In training mode, freeze all but the last layer, or undo that. Frozen layers keep their weights and running
        statistics, and drop nothing."""
        head = self.network.head()
        self.requires_grad_(not frozen)
        self.train(not frozen)
        head.requires_grad_(True)
        head.train()


# Mean and standard deviation that nearly all networks of torchvision's weights were trained with.
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
FIXED = {"imagenet": IMAGENET, "half": ((0.5,) * 3, (0.5,) * 3), "none": ((0.0,) * 3, (1.0,) * 3)}


def normalization(name: str, data: Description) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation to normalise colours with, by name: "data", the training images' own per-channel
    statistics; "imagenet", those of ImageNet; "half", which brings colours to -1..1; "none", which keeps them in 0..1.
    """
    return (data.mean, data.std) if name == "data" else FIXED[name]


def contradictions(spec: Spec, image_size: int) -> list[str]:
    """Sentences about colours and size of the images, if they are not those of the weights' own training. Training can
    start from such weights, so nothing is refused. Only torchvision's weights are known."""
    if spec.name == CNN:
        return []
    from glassbox.models import registry

    weights = registry.torchvisions_own(spec.name, spec.hyperparameters["weights"])
    if weights is None:
        return []
    sentences: list[str] = []
    made_for, size = weights.transforms(), spec.input_size or image_size
    colours = tuple(made_for.mean), tuple(made_for.std)
    if FIXED.get(spec.normalization) != colours:
        same = next((name for name, values in FIXED.items() if values == colours), None)
        sentences.append(
            f"model.normalization is {spec.normalization}: the weights {weights.name} of {spec.name} were trained with "
            f"mean {_three(colours[0])} and std {_three(colours[1])}, which {same or 'no model.normalization'} gives."
        )
    if [size] != made_for.crop_size:
        sentences.append(
            f"The network takes images of {size} x {size} pixels (model.input_size or data.image_size): the weights "
            f"{weights.name} of {spec.name} were made for {made_for.crop_size[0]} x {made_for.crop_size[0]}."
        )
    return sentences


def _three(values: tuple[float, ...]) -> str:
    return f"({', '.join(f'{value:.3g}' for value in values)})"


def check(spec: Spec, image_size: int, explainers: Collection[str] = ()) -> list[str]:
    """Check, before anything is trained, that there is such a network and such weights, and that the explainers of
    these names can explain it.

    Returns:
        `contradictions`.

    Raises:
        UserError: there is not, or it cannot.
    """
    if spec.name == CNN:
        return []
    from glassbox.models import registry

    registry.check(spec.name, spec.hyperparameters["weights"])
    if "grad_cam" in explainers:
        build(spec.name, spec.hyperparameters, image_size, 2, *IMAGENET, spec.input_size).grad_cam_layer(image_size)
    return contradictions(spec, image_size)


def check_data(spec: Spec, data: Description) -> list[str]:
    """Check that weights in a file fit the data.

    Returns:
        Sentences about the head and the classes of the data; see `weights.Fitted`.

    Raises:
        UserError: they do not.
    """
    weights = spec.hyperparameters.get("weights")
    if not weights or not weights.endswith(FILES):
        return []
    return fresh(spec, data, 0, torch.device("cpu")).network.notes


def build(
    name: str,
    hyperparameters: dict[str, Any],
    image_size: int,
    n_classes: int,
    mean: Any,
    std: Any,
    input_size: int | None = None,
) -> Classifier:
    """A classifier by name, with fresh weights from torch's global random state, in channels_last memory order.

    A new network is one file and one line here.
    """
    size = input_size or image_size
    if name == CNN:
        network: nn.Module = TwoBlockCNN(Hyperparameters(**hyperparameters), size, n_classes)
    else:
        from glassbox.models import registry  # torchvision takes its time, and the CNN has no need of it

        network = registry.TorchvisionNetwork(name, registry.Hyperparameters(**hyperparameters), size, n_classes)
    return Classifier(network, mean, std, input_size).to(memory_format=torch.channels_last)


def fresh(spec: Spec, data: Description, seed: int, device: torch.device) -> Classifier:
    """A classifier for the data, on the device, before training: with fresh weights from a seed, which also seeds what
    torch draws next, or those that `model.weights` names.

    Raises:
        UserError: there is no such network, or its weights are missing or do not fit.
    """
    torch.manual_seed(seed)
    sizes = data.image_size, len(data.classes)
    statistics = normalization(spec.normalization, data)
    with device:  # its weights are drawn there
        classifier = build(spec.name, spec.hyperparameters, *sizes, *statistics, spec.input_size)
    if weights := spec.hyperparameters.get("weights"):
        from glassbox.models import registry

        registry.load_weights(classifier.network, weights, data.classes)
    return classifier


def digest_of_weights(spec: Spec) -> str | None:
    """SHA-256 of the file of starting weights; None if they are not from a file.

    Raises:
        UserError: the file cannot be read.
    """
    weights = spec.hyperparameters.get("weights")
    return digest(weights) if weights and weights.endswith(FILES) else None


def describe(spec: Spec, classifier: Classifier, data: Description, choices: list[dict[str, Any]]) -> Card:
    """The card of a classifier that was trained on `data`."""
    network = classifier.network
    return Card(
        name=spec.name,
        hyperparameters=spec.hyperparameters,
        classes=data.classes,
        image_size=data.image_size,
        input_size=spec.input_size,
        mean=tuple(classifier.mean.flatten().tolist()),
        std=tuple(classifier.std.flatten().tolist()),
        data_digest=data.digest,
        layers=[asdict(row) for row in layers(network, spec.input_size or data.image_size)],
        parameters=totals(network),
        choices=choices,
        began_fresh=list(getattr(network, "began_fresh", [])),
        contradictions=contradictions(spec, data.image_size) + getattr(network, "notes", []),
    )


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
        card = Card(**{key: tuple(v) if key in ("classes", "mean", "std") else v for key, v in value.items()})
        sizes = card.image_size, len(card.classes)
        classifier = build(card.name, card.hyperparameters, *sizes, card.mean, card.std, card.input_size)
        load_tensors(classifier, load_file(path))
        classifier.temperature, classifier.classes = temperature, card.classes
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
