"""python:MODULE:FUNCTION: a function of one's own that makes a network, in a module of the folder networks/."""

import importlib
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from PIL.Image import Image
from torch import nn

from glassbox.core.errors import UserError
from glassbox.models.networks.base import Source
from glassbox.models.weights import reason
from glassbox.provenance.fingerprint import NETWORKS

PREPROCESS = "preprocess"  # function of the module: an image of PIL to the network's input
# Of the repository; of a model that MLflow has logged, where it lies beside the package.
FOLDERS = (NETWORKS, Path(__file__).resolve().parents[3] / NETWORKS)


class OwnFunction(Source):
    """The function is called with `n_classes` and the arguments, by name, and returns the network."""

    def check_name(self, name: str) -> None:
        _function(name)

    def make(self, name: str, arguments: Mapping[str, Any], size: int, n_classes: int) -> nn.Module:
        return _function(name)(n_classes=n_classes, **arguments)

    def transform(self, name: str, which: str) -> tuple[Callable[[Image], torch.Tensor], str] | None:
        """The function `preprocess` of the module, if it has one."""
        _function(name)
        module = name.partition(":")[0]
        given = getattr(sys.modules[module], PREPROCESS, None)
        return None if given is None else (given, f"{PREPROCESS} of {module}")

    def signature(self, name: str, error: TypeError) -> inspect.Signature:
        return inspect.signature(_function(name))


def _function(name: str) -> Callable[..., nn.Module]:
    module, _, function = name.partition(":")
    for folder in (str(folder.resolve()) for folder in FOLDERS if folder.is_dir()):
        if folder not in sys.path:
            sys.path.insert(0, folder)
    try:
        found = getattr(importlib.import_module(module), function, None)
    except Exception as error:  # a module of one's own raises any kind
        raise UserError(
            f"model.name is 'python:{name}', but {module} cannot be imported from the folder networks ({reason(error)})"
        ) from error
    if not callable(found):
        raise UserError(f"model.name is 'python:{name}', but the module {module} has no function {function}")
    return found


SOURCE = OwnFunction()
