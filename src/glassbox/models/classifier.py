"""A classifier: a network with what happens to images before it. It is trained and explained."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Literal

import torch
from torch import nn

from glassbox.config.types import Precision
from glassbox.core.errors import UserError
from glassbox.data.batches import to_float
from glassbox.execution import compute
from glassbox.execution.compute import refusals
from glassbox.models.class_names import Order
from glassbox.models.feature_maps import as_maps, last_feature_maps
from glassbox.models.layers import device_of, evaluating
from glassbox.models.preprocessing import Preprocessing
from glassbox.provenance.resume import Arrays, Keep, unkept


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
    outputs: torch.Tensor | None  # positions of the network's outputs, in the order of `classes`; None: as they are
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
        self.register_buffer("outputs", None, persistent=False)
        # A channel without variation (grey images have none in colour) would divide by zero.
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(1, 3, 1, 1).clamp_min(1e-3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # Row by row, with the three channels' values repeated: three at a time the processor takes ten times as long.
        n, c, h, w = x.shape
        mean, std = self.mean.flatten().repeat(w), self.std.flatten().repeat(w)
        rows = (x.permute(0, 2, 3, 1).reshape(n, h, w * c) - mean) / std
        x = rows.view(n, h, w, c).permute(0, 3, 1, 2)
        logits = self.answer(self.normalized(self.preprocessing.resized(x)))
        if self.temperature == 1:
            return logits
        return logits.to(torch.promote_types(logits.dtype, torch.float32)) / self.temperature

    def answer(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (N, K) of images as the network itself takes them, normalised and of its size."""
        logits = self.network(x)
        return logits if self.outputs is None else logits[:, self.outputs]

    def answer_in(self, order: Order) -> None:
        """Give the network's outputs in another order."""
        self.classes = order.classes
        if order.outputs != tuple(range(len(order.outputs))):
            self.outputs = torch.tensor(order.outputs, device=self.mean.device)

    @property
    def input_size(self) -> int | None:
        """Side of the network's input, pixels; None takes images as they are."""
        return self.preprocessing.input_size

    @property
    def has_gradients(self) -> bool:
        """Whether the network has gradients, and weights that can be changed; else it only answers."""
        return getattr(self.network, "has_gradients", True)

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
    device = device_of(classifier)

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
    device = device_of(classifier)
    batch = batch.to(device)
    x = to_float(batch) if batch.dtype == torch.uint8 else batch
    side = getattr(classifier, "input_size", None) or x.shape[2]
    number = compute.number(precision, device)
    with refusals(device, "compute.batch_size", batch_size, side), compute.autocast(device, number):
        return {"logits": classifier(x).float().cpu().numpy()}


def probabilities(classifier: nn.Module, images: torch.Tensor, batch_size: int, **options: Any) -> torch.Tensor:
    """Softmax of `predict`, in float64: (N, K) on the CPU."""
    return predict(classifier, images, batch_size, **options).double().softmax(dim=1)
