"""torchvision/NAME: the classification networks of torchvision's registry, and its weights."""

import inspect
import pickle
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import torchvision
from PIL.Image import Image
from torch import nn

from glassbox.core.errors import UserError
from glassbox.models.class_names import Names, imagenet, plain
from glassbox.models.feature_maps import last_layer
from glassbox.models.networks.base import Source, nearest, no_weights, taken_by
from glassbox.models.preprocessing import Preprocessing
from glassbox.models.weights import Weights, reason

# The first convolution and the pooling after it: of ResNet and its kin, and of DenseNet.
STEMS = {"conv1": "maxpool", "features.conv0": "features.pool0"}


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


class Torchvision(Source):
    """Its networks take torchvision's own arguments, and three more: `dropout`, the share of the features dropped
    before the last layer; `stem`, "imagenet" (torchvision's) or "cifar", which keeps the size of small images: the
    first convolution is 3 x 3 with stride 1, and there is no max-pooling after it; `batch_norm_momentum`, the share
    that the running statistics keep at each step (PyTorch counts the other way).
    """

    def check_name(self, name: str) -> None:
        if name not in (known := names()):
            hint = nearest("torchvision/", name, known)
            raise UserError(
                f"model.name is 'torchvision/{name}'{hint}, but torchvision has no such classification network"
            )

    def make(self, name: str, arguments: Mapping[str, Any], size: int, n_classes: int) -> nn.Module:
        own = {"dropout": 0.0, "stem": "imagenet", "batch_norm_momentum": 0.9} | dict(arguments)
        dropout, stem, momentum = own.pop("dropout"), own.pop("stem"), own.pop("batch_norm_momentum")
        _check_own(dropout, stem, momentum)
        if name in ("googlenet", "inception_v3"):
            own = {"aux_logits": False, "init_weights": True} | own
        if name.startswith("vit_"):
            own = {"image_size": size} | own
        if name.startswith("maxvit_"):
            own = {"input_size": (size, size)} | own
        network = torchvision.models.get_model(name, weights=None, num_classes=n_classes, **own)
        _replace_head(network, n_classes, dropout)
        if stem == "cifar":
            _cifar_stem(name, network)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 1 - momentum
        return network

    def signature(self, name: str, error: TypeError) -> inspect.Signature:
        with torch.device("meta"):
            taken = taken_by(lambda: torchvision.models.get_model(name, weights=None), error)
        keys = dict.fromkeys(["dropout", "stem", "batch_norm_momentum", *taken.parameters])
        return inspect.Signature([inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY) for key in keys])

    def stem(self, network: nn.Module, arguments: Mapping[str, Any]) -> str | None:
        modules = dict(network.named_modules())
        return next(name for name in STEMS if name in modules) if arguments.get("stem") == "cifar" else None

    def check_weights(self, name: str, which: str) -> None:
        known = torchvision.models.get_model_weights(name)
        if which not in known.__members__:
            none = ["none of torchvision's, which has none for it"]
            raise no_weights(which, name, known.__members__ or none)

    def weights(self, name: str, which: str) -> Weights:
        self.check_weights(name, which)
        weights = torchvision.models.get_model_weights(name)[which]
        try:
            return Weights(weights.get_state_dict(progress=sys.stderr.isatty(), check_hash=True, weights_only=True))
        except (OSError, RuntimeError, pickle.UnpicklingError) as error:
            place = Path(torch.hub.get_dir()) / "checkpoints" / weights.url.rsplit("/", 1)[-1]
            raise UserError(
                f"model.weights: {which} of {name} cannot be had from {weights.url} ({reason(error)}): put that file "
                f"at {place}, or name a file of your own"
            ) from None

    def made_for(self, name: str, which: str) -> Preprocessing | None:
        weights = own_weights(name, which)
        if weights is None:
            return None
        how = weights.transforms()
        size, (crop,) = how.resize_size, how.crop_size
        return Preprocessing(tuple(how.mean), tuple(how.std), crop, how.interpolation.value, crop / size[0])

    def transform(self, name: str, which: str) -> tuple[Callable[[Image], torch.Tensor], str] | None:
        weights = own_weights(name, which)
        return None if weights is None else (weights.transforms(), f"torchvision's transform of {weights}")

    def class_names(self, name: str, which: str) -> Names | None:
        words = torchvision.models.get_model_weights(name)[which].meta["categories"]
        same = imagenet()
        if len(words) != len(same):
            return plain(words)
        return tuple(tuple(dict.fromkeys((word, *more))) for word, more in zip(words, same, strict=True))

    def suit(self, network: nn.Module, name: str, which: str | None) -> None:
        # With torchvision's weights GoogLeNet and Inception take colours normalised as ImageNet's and bring them to
        # -1..1 themselves.
        if hasattr(network, "transform_input"):
            network.transform_input = which is not None and own_weights(name, which) is not None


def names() -> list[str]:
    """The classification networks of torchvision's registry."""
    return torchvision.models.list_models(module=torchvision.models)


def own_weights(name: str, which: str) -> torchvision.models.WeightsEnum | None:
    """Torchvision's weights that `model.weights` names, by their name or as a file with the name of theirs; None if it
    names others."""
    known = torchvision.models.get_model_weights(name)
    if which in known.__members__:
        return known[which]
    return next((weights for weights in known if weights.url.rpartition("/")[2] == Path(which).name), None)


def _check_own(dropout: Any, stem: Any, momentum: Any) -> None:
    for key, value in {"dropout": dropout, "batch_norm_momentum": momentum}.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
            raise UserError(f"model.arguments.{key} is {value!r}, but must be a number from 0 to below 1")
    if stem not in ("imagenet", "cifar"):
        raise UserError(f"model.arguments.stem is {stem!r}, but must be imagenet or cifar")


def _replace_head(network: nn.Module, n_classes: int, dropout: float) -> None:
    """Put the dropout before the last layer."""
    name = last_layer(network, n_classes)
    head, parent = network.get_submodule(name), network.get_submodule(name.rpartition(".")[0])
    siblings = list(parent.children())
    before = siblings[siblings.index(head) - 1] if head in siblings[1:] else None
    if isinstance(before, nn.Dropout):  # torchvision's own
        before.p = 0.0 if isinstance(head, nn.Linear) else dropout
    if isinstance(head, nn.Linear):
        setattr(parent, name.rpartition(".")[2], DropoutLinear(head, dropout))


def _cifar_stem(name: str, network: nn.Module) -> None:
    modules = dict(network.named_modules())
    for conv_name, pool_name in STEMS.items():
        if isinstance(modules.get(conv_name), nn.Conv2d) and isinstance(modules.get(pool_name), nn.MaxPool2d):
            old = modules[conv_name]
            conv = nn.Conv2d(old.in_channels, old.out_channels, 3, stride=1, padding=1, bias=old.bias is not None)
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")  # as torchvision's ResNet
            network.set_submodule(conv_name, conv)
            network.set_submodule(pool_name, nn.Identity())
            return
    raise UserError(
        f"model.arguments.stem is 'cifar', but torchvision/{name} (model.name) has no strided convolution and "
        "max-pooling to change at its beginning, as resnet18, resnext50_32x4d or densenet121 have: use imagenet, with "
        "a larger model.input_size"
    )


SOURCE = Torchvision()
