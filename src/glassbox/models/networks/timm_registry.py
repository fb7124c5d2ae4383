"""timm/NAME: the networks of timm's registry, and its weights."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import timm
import torch
from PIL.Image import Image
from timm.data import create_transform, resolve_data_config
from torch import nn

from glassbox.core.errors import UserError
from glassbox.models import weights as stored
from glassbox.models.class_names import Names, imagenet
from glassbox.models.networks.base import Source, nearest, no_weights, taken_by
from glassbox.models.preprocessing import Preprocessing
from glassbox.models.weights import FILES, Weights, reason

IMAGENET = 1000  # outputs of weights that were trained on ImageNet-1k
ON_THE_HUB = "model.safetensors"  # the one file of weights that is read there


class Timm(Source):
    """Its networks take timm's own arguments, like `drop_rate`, `drop_path_rate`, `depth` or `global_pool`."""

    def check_name(self, name: str) -> None:
        if "." in name and timm.is_model(name.partition(".")[0]):
            network, _, tag = name.partition(".")
            raise UserError(
                f"model.name is 'timm/{name}', but must be timm/{network}: its weights {tag} belong in model.weights"
            )
        if not timm.is_model(name):
            hint = nearest("timm/", name, timm.list_models())
            raise UserError(f"model.name is 'timm/{name}'{hint}, but timm {timm.__version__} has no such network")

    def make(self, name: str, arguments: Mapping[str, Any], size: int, n_classes: int) -> nn.Module:
        sized = {"img_size": size} if self.has_size(name) else {}
        return timm.create_model(name, pretrained=False, num_classes=n_classes, in_chans=3, **(sized | dict(arguments)))

    def signature(self, name: str, error: TypeError) -> inspect.Signature:
        with torch.device("meta"):
            return taken_by(lambda: timm.create_model(name), error)

    def heads(self, network: nn.Module, n_classes: int) -> tuple[str, ...]:
        named = getattr(network, "pretrained_cfg", {}).get("classifier")
        named = (named,) if isinstance(named, str) else tuple(named or ())
        modules = dict(network.named_modules())
        return tuple(name for name in named if name in modules) or super().heads(network, n_classes)

    def check_weights(self, name: str, which: str) -> None:
        self._config(name, which)

    def weights(self, name: str, which: str) -> Weights:
        """From the Hugging Face hub, by `huggingface_hub`, which keeps what it has downloaded; safetensors only."""
        config = self._config(name, which)
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import HfHubHTTPError

        try:
            return stored.read(hf_hub_download(config.hf_hub_id, config.hf_hub_filename or ON_THE_HUB))
        except (OSError, HfHubHTTPError) as error:
            raise UserError(
                f"model.weights: {which} of timm/{name} cannot be had from the Hugging Face hub ({config.hf_hub_id}, "
                f"{reason(error)}): download its {ON_THE_HUB} where there is a network, and name that file"
            ) from None

    def _config(self, name: str, which: str) -> Any:
        tag = "" if which == "DEFAULT" else which
        tags = [full.partition(".")[2] for full in timm.list_pretrained(f"{name}.*")]
        known = tag in tags if tag else bool(tags)
        config = timm.get_pretrained_cfg(f"{name}.{tag}" if tag else name) if known else None
        if config is None or not config.hf_hub_id:
            none = ["none of timm's, which has none for it"]
            raise no_weights(which, f"timm/{name}", ["DEFAULT", *tags] if tags else none)
        return config

    def made_for(self, name: str, which: str) -> Preprocessing | None:
        """A file is taken for weights of the network's default images."""
        config = timm.get_pretrained_cfg(name) if which.endswith(FILES) else self._config(name, which)
        if config is None:
            return None
        how = resolve_data_config(pretrained_cfg=config.to_dict())
        kind = "bicubic" if how["interpolation"] == "bicubic" else "bilinear"
        return Preprocessing(tuple(how["mean"]), tuple(how["std"]), how["input_size"][1], kind, how["crop_pct"])

    def transform(self, name: str, which: str) -> tuple[Callable[[Image], torch.Tensor], str] | None:
        config = timm.get_pretrained_cfg(name) if which.endswith(FILES) else self._config(name, which)
        if config is None:
            return None
        given = create_transform(**resolve_data_config(pretrained_cfg=config.to_dict()), is_training=False)
        return given, f"timm's transform of {name}"

    def class_names(self, name: str, which: str) -> Names | None:
        """Known of weights that were trained on ImageNet-1k."""
        return imagenet() if self._config(name, which).num_classes == IMAGENET else None

    def has_size(self, name: str) -> bool:
        config = timm.get_pretrained_cfg(name)
        return config is not None and config.fixed_input_size

    def resize(self, network: nn.Module, size: int) -> None:
        if not hasattr(network, "set_input_size"):
            config: Any = network.pretrained_cfg
            own = config["input_size"][1]
            raise UserError(
                f"model.weights are for images of {own} x {own} pixels, and timm cannot bring them to {size} x {size} "
                f"in this network ({type(network).__name__}): set model.input_size to {own}"
            )
        # Swin's windows would shrink with the image, and not be those of a network that is made for that size.
        windows = getattr(network, "_ref_window_sizes", None)
        network.set_input_size(img_size=(size, size), **({"window_size": windows} if windows else {}))


SOURCE = Timm()
