"""Classification networks of torchvision by name, with the weights, stem and head that the study asks for."""

import difflib
import pickle
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import nn

from glassbox.core.errors import UserError
from glassbox.models import weights as stored
from glassbox.models.layers import evaluating, last_feature_maps, load_tensors
from glassbox.models.weights import FILES, Weights, no_file, reason


@dataclass(frozen=True)
class Hyperparameters:
    """What params.yaml says of a network of torchvision.

    Attributes:
        weights: where training starts: None (fresh), torchvision's name of them, or a file; see `load_weights`.
        stem: "imagenet", as torchvision has it, or "cifar", which keeps the size of small images: the first convolution
            is 3x3 with stride 1, and the max-pooling after it is left out.
        dropout: share of the features dropped before the last layer.
        batch_norm_momentum: share that the running statistics keep at each step (PyTorch counts the other way).
    """

    weights: str | None
    stem: str
    dropout: float
    batch_norm_momentum: float


class DropoutLinear(nn.Linear):
    """A dense layer with dropout before it; its weights are those of `layer`, under the same names."""

    def __init__(self, layer: nn.Linear, dropout: float) -> None:
        super().__init__(layer.in_features, layer.out_features, layer.bias is not None)
        self.weight, self.bias, self.dropout = layer.weight, layer.bias, dropout

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(self.drop(x))

    def drop(self, x: torch.Tensor) -> torch.Tensor:
        """What the dropout leaves of the features."""
        return nn.functional.dropout(x, self.dropout, self.training)


class TorchvisionNetwork(nn.Module):
    """A network of torchvision with an output for each class.

    Args:
        name: in torchvision's registry, like "resnet18".
        p: hyperparameters; the weights are fresh until `load_weights`.
        input_size: side of the input, pixels.
        n_classes: outputs.

    Shape: (N, 3, input_size, input_size) float to logits (N, n_classes).

    Raises:
        UserError: there is no such network, or it has no stem to change, or cannot take such images.
    """

    def __init__(self, name: str, p: Hyperparameters, input_size: int, n_classes: int) -> None:
        super().__init__()
        check_name(name)
        options: dict[str, Any] = {}
        if name in ("googlenet", "inception_v3"):
            options = {"aux_logits": False, "init_weights": True}
        if name.startswith("vit_"):
            options = {"image_size": input_size}
        if name.startswith("maxvit_"):
            options = {"input_size": (input_size, input_size)}
        try:
            self.body = torchvision.models.get_model(name, weights=None, num_classes=n_classes, **options)
        except (ValueError, RuntimeError, AssertionError) as error:
            raise _cannot_take(name, input_size, error) from None
        self.name, self.input_size = name, input_size
        self.suit(p.weights)
        self.began_fresh: list[str] = []
        self.notes: list[str] = []  # of the weights in a file, what there is to know of the head
        self.grad_cam_name: str | None = None  # name of Grad-CAM's layer; `grad_cam_layer` sets it
        self.head_name = _replace_head(self.body, n_classes, p.dropout)
        self.stem_name = _cifar_stem(name, self.body) if p.stem == "cifar" else None
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 1 - p.batch_norm_momentum
        try:
            with evaluating(self), torch.no_grad():
                self.body(torch.zeros(1, 3, input_size, input_size))
        except (ValueError, RuntimeError, AssertionError) as error:
            raise _cannot_take(name, input_size, error) from None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x)

    def suit(self, weights: str | None) -> None:
        """Set the network up as torchvision does for these weights: for their own, GoogLeNet and Inception take colours
        that are normalised as ImageNet's and bring them to -1..1 themselves."""
        if hasattr(self.body, "transform_input"):
            self.body.transform_input = torchvisions_own(self.name, weights) is not None

    def penalties(self) -> tuple[tuple[nn.Parameter, float], ...]:
        """None: weight decay is the optimizer's."""
        return ()

    def head(self) -> nn.Module:
        """The last layer with the dropout before it."""
        head = self.body.get_submodule(self.head_name)
        if isinstance(head, nn.Linear):
            return head
        return self.body.get_submodule(self.head_name.rpartition(".")[0])  # a convolution, in a block of its own

    def grad_cam_layer(self) -> nn.Module:
        """The layer whose output Grad-CAM weighs; see `layers.last_feature_maps`.

        Raises:
            UserError: there is none.
        """
        if self.grad_cam_name is None:
            layer = last_feature_maps(self.body, self.input_size)
            if layer is None:
                raise UserError(
                    f"explain.explainers has grad_cam, which needs feature maps of more than one place that nothing "
                    f"bypasses on the way to the output, and {self.name} (model.name) on {self.input_size} x "
                    f"{self.input_size} pixels has none: take grad_cam out of explain.explainers, or change model.name "
                    "or model.input_size"
                )
            self.grad_cam_name = next(name for name, module in self.body.named_modules() if module is layer)
        return self.body.get_submodule(self.grad_cam_name)


def names() -> list[str]:
    """The classification networks of torchvision's registry."""
    return torchvision.models.list_models(module=torchvision.models)


def check(name: str, weights: str | None) -> None:
    """Whether there is such a network, and such weights as far as can be told without reading them.

    Raises:
        UserError: there is not.
    """
    check_name(name)
    if weights is not None and not weights.endswith(FILES):
        _weights_of_torchvision(name, weights)
    elif weights is not None and not Path(weights).exists():
        raise no_file(weights)


def load_weights(network: TorchvisionNetwork, which: str, classes: Sequence[str] = ()) -> list[str]:
    """Put weights into a network.

    Taken are torchvision's own ("IMAGENET1K_V2", "DEFAULT": downloaded once, checked by their hash), or a local file,
    see `weights.read`. The head keeps its fresh weights where the other one has another number of classes or several
    layers, and so does the first convolution of the "cifar" stem where the other one is larger. Where the weights name
    their classes the head's rows are put in the order of the data.

    Args:
        network: changed in place.
        which: name or file.
        classes: of the data, in the order of the outputs.

    Returns:
        The names of the tensors that kept their fresh weights.

    Raises:
        UserError: they cannot be had, or belong to another network.
    """
    given = stored.read(which) if which.endswith(FILES) else _of_torchvision(network.name, which)
    fitted = stored.fit(
        given,
        network.body.state_dict(),
        network.head_name,
        network.stem_name,
        which=which,
        network=network.name,
        classes=classes,
    )
    load_tensors(network.body, fitted.tensors, strict=False)
    network.suit(which)
    network.began_fresh = fitted.fresh
    network.notes = fitted.notes if which.endswith(FILES) else []  # of torchvision's own everyone knows
    return fitted.fresh


def torchvisions_own(name: str, which: str | None) -> torchvision.models.WeightsEnum | None:
    """The weights of torchvision for a network that `model.weights` names, by their name or as a file that is called
    like theirs; None for others."""
    known = torchvision.models.get_model_weights(name)
    if which is None or which in known.__members__:
        return known[which] if which else None
    return next((weights for weights in known if weights.url.rpartition("/")[2] == Path(which).name), None)


def digest(which: str) -> str | None:
    """SHA-256 of weights in a file; None for torchvision's, whose name stands for them.

    Raises:
        UserError: the file cannot be read.
    """
    return stored.digest(which) if which.endswith(FILES) else None


def check_name(name: str) -> None:
    """Whether there is such a network.

    Raises:
        UserError: there is not.
    """
    if name not in (known := names()):
        close = difflib.get_close_matches(name, known, n=1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        raise UserError(
            f"model.name is {name!r}{hint}, but must be cnn or a classification network of torchvision, like resnet18"
        )


def _weights_of_torchvision(name: str, which: str) -> torchvision.models.WeightsEnum:
    known = torchvision.models.get_model_weights(name)
    if which not in known.__members__:
        allowed = ", ".join(known.__members__) or "none of torchvision's, which has none for it"
        raise UserError(
            f"model.weights is {which!r}, but must be null, a file ({', '.join(FILES)}), or for {name} {allowed}"
        )
    return known[which]


def _of_torchvision(name: str, which: str) -> Weights:
    weights = _weights_of_torchvision(name, which)
    try:
        return Weights(weights.get_state_dict(progress=sys.stderr.isatty(), check_hash=True, weights_only=True))
    except (OSError, RuntimeError, pickle.UnpicklingError) as error:
        place = Path(torch.hub.get_dir()) / "checkpoints" / weights.url.rsplit("/", 1)[-1]
        raise UserError(
            f"model.weights: {which} of {name} cannot be had from {weights.url} ({reason(error)}): put that file at "
            f"{place}, or name a file of your own"
        ) from None


def _replace_head(body: nn.Module, n_classes: int, dropout: float) -> str:
    """Put the dropout before the last layer; returns the name of that layer."""
    candidates = {
        name: module
        for name, module in body.named_modules()
        if (isinstance(module, nn.Linear) and module.out_features == n_classes)
        or (isinstance(module, nn.Conv2d) and module.out_channels == n_classes)
    }
    name, head = list(candidates.items())[-1]
    parent = body.get_submodule(name.rpartition(".")[0])
    siblings = list(parent.children())
    before = siblings[siblings.index(head) - 1] if head in siblings[1:] else None
    if isinstance(before, nn.Dropout):  # torchvision's own
        before.p = 0.0 if isinstance(head, nn.Linear) else dropout
    if isinstance(head, nn.Linear):
        setattr(parent, name.rpartition(".")[2], DropoutLinear(head, dropout))
    return name


def _cifar_stem(name: str, body: nn.Module) -> str:
    """Change the beginning of the network; returns the name of the first convolution."""
    places = {"conv1": "maxpool", "features.conv0": "features.pool0"}  # ResNet and its kin, DenseNet
    for conv_name, pool_name in places.items():
        modules = dict(body.named_modules())
        if isinstance(modules.get(conv_name), nn.Conv2d) and isinstance(modules.get(pool_name), nn.MaxPool2d):
            old = modules[conv_name]
            conv = nn.Conv2d(old.in_channels, old.out_channels, 3, stride=1, padding=1, bias=old.bias is not None)
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")  # as torchvision's ResNet
            body.set_submodule(conv_name, conv)
            body.set_submodule(pool_name, nn.Identity())
            return conv_name
    raise UserError(
        f"model.stem is 'cifar', but {name} (model.name) has no strided convolution and max-pooling to change at its "
        "beginning, as resnet18, resnext50_32x4d or densenet121 have: use imagenet, with a larger model.input_size"
    )


def _cannot_take(name: str, size: int, error: Exception) -> UserError:
    return UserError(
        f"{name} (model.name) cannot take images of {size} x {size} pixels ({reason(error)}): change model.input_size"
    )
