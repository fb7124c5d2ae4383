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
from glassbox.models.layers import evaluating, load_tensors
from glassbox.models.weights import FILES, Weights, no_file, reason


@dataclass(frozen=True)
class Hyperparameters:
    """Hyperparameters of a network of torchvision."""

    weights: str | None  # starting weights: None (fresh), torchvision's name of them, or a file; see `load_weights`
    # "imagenet" is torchvision's; "cifar" keeps the size of small images: the first convolution is 3x3 with stride 1,
    # and there is no max-pooling after it.
    stem: str
    dropout: float  # share of the features dropped before the last layer
    batch_norm_momentum: float  # share that the running statistics keep at each step (PyTorch counts the other way)


class DropoutLinear(nn.Linear):
    """A dense layer with dropout before it; its weights are those of `layer`, under the same names."""

    def __init__(self, layer: nn.Linear, dropout: float) -> None:
        super().__init__(layer.in_features, layer.out_features, layer.bias is not None)
        self.weight, self.bias, self.dropout = layer.weight, layer.bias, dropout

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(self.drop(x))

    def drop(self, x: torch.Tensor) -> torch.Tensor:
        """Dropout of the features."""
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
        UserError: the network does not exist, has no stem to change, or cannot take such images.
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
            self.head_name = _replace_head(self.body, n_classes, p.dropout)
            self.stem_name = _cifar_stem(name, self.body) if p.stem == "cifar" else None
            with evaluating(self), torch.no_grad():
                self.body(torch.zeros(1, 3, input_size, input_size))
        except (ValueError, RuntimeError, AssertionError) as error:
            raise UserError(
                f"{name} (model.name) cannot take images of {input_size} x {input_size} pixels ({reason(error)}): "
                "change model.input_size"
            ) from None
        self.name, self.input_size = name, input_size
        self.suit(p.weights)
        self.began_fresh: list[str] = []
        self.notes: list[str] = []  # about the head, if weights come from a file
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 1 - p.batch_norm_momentum

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x)

    def suit(self, weights: str | None) -> None:
        """Set the network up as torchvision does for these weights: with torchvision's, GoogLeNet and Inception take
        colours normalised as ImageNet's and bring them to -1..1 themselves."""
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


def names() -> list[str]:
    """The classification networks of torchvision's registry."""
    return torchvision.models.list_models(module=torchvision.models)


def check(name: str, weights: str | None) -> None:
    """Raise a UserError if there is no such network, or there are no such weights, which are not read."""
    check_name(name)
    if weights is not None and not weights.endswith(FILES):
        _weights_of_torchvision(name, weights)
    elif weights is not None and not Path(weights).exists():
        raise no_file(weights)


def load_weights(network: TorchvisionNetwork, which: str, classes: Sequence[str] = ()) -> None:
    """Put weights into a network: torchvision's ("IMAGENET1K_V2", "DEFAULT": downloaded once, checked by their hash),
    or those in a local file, see `weights.read`.

    The head keeps its fresh weights if the given one has another number of classes or several layers; so does the first
    convolution of the "cifar" stem if the given one is larger. `network.began_fresh` names these tensors. If the
    weights name their classes, the head's rows are put in the order of `classes`, those of the data.

    Raises:
        UserError: they cannot be had, or belong to another network.
    """
    fitted = stored.fit(
        stored.read(which) if which.endswith(FILES) else _of_torchvision(network.name, which),
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
    network.notes = fitted.notes if which.endswith(FILES) else []


def torchvisions_own(name: str, which: str | None) -> torchvision.models.WeightsEnum | None:
    """Torchvision's weights that `model.weights` names, by their name or as a file with the name of theirs; None if it
    names others."""
    known = torchvision.models.get_model_weights(name)
    if which is None or which in known.__members__:
        return known[which] if which else None
    return next((weights for weights in known if weights.url.rpartition("/")[2] == Path(which).name), None)


def check_name(name: str) -> None:
    """Raise a UserError if there is no such network."""
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
    name, head = [
        (name, module)
        for name, module in body.named_modules()
        if (isinstance(module, nn.Linear) and module.out_features == n_classes)
        or (isinstance(module, nn.Conv2d) and module.out_channels == n_classes)
    ][-1]
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
