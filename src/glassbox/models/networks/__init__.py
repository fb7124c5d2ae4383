"""Networks by name: one module for each source of them, by the prefix of `model.name`."""

from importlib import import_module

from glassbox.config.model import NAMES
from glassbox.config.types import CNN
from glassbox.core.errors import UserError
from glassbox.models.networks.base import Source

SOURCES = {
    CNN: "cnn",
    "fast_cnn": "fast_cnn",
    "torchvision": "torchvision_registry",
    "timm": "timm_registry",
    "python": "own_function",
    "exported": "exported",
    "onnx": "onnx_model",
}


def source_of(name: str, file: str | None = None) -> Source:
    """The source of a network. Its library is imported here, because that takes its time.

    Args:
        name: `model.name`.
        file: that holds the network, if it is of a source of such files.

    Raises:
        UserError: there is no such source.
    """
    prefix = name.partition(":")[0].partition("/")[0]
    if prefix not in SOURCES:
        raise UserError(f"model.name is {name!r}, but must be {NAMES}")
    return import_module(f"glassbox.models.networks.{SOURCES[prefix]}").SOURCE.of_file(file)


def bare(name: str) -> str:
    """What follows the source's prefix in `model.name`: "resnet18" of "timm/resnet18"."""
    return name.partition(":" if name.startswith("python:") else "/")[2]
