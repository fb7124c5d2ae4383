"""The interface of a source of networks, and what the sources share."""

import difflib
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from PIL.Image import Image
from torch import nn

from glassbox.core.errors import UserError, cut
from glassbox.models.class_names import Names
from glassbox.models.feature_maps import last_layer
from glassbox.models.layers import device_of, evaluating
from glassbox.models.preprocessing import Preprocessing
from glassbox.models.weights import FILES, Weights, reason


class Source:
    """Where networks come from. Each module of this package has one, as `SOURCE`.

    A network is any `nn.Module` that takes images (N, 3, size, size) float and gives logits (N, n_classes).

    Attributes:
        ending: of the name of a file that holds network and weights together; None where code makes the network.
        has_gradients: whether a network has gradients, and weights that can be changed; else it only answers.
    """

    ending: str | None = None
    has_gradients = True

    def of_file(self, file: str | None) -> "Source":
        """The source that makes the network in a file; this one where code makes the network."""
        return self

    def outputs(self, arguments: Mapping[str, Any]) -> int | None:
        """The number of outputs, where a file decides it."""
        return None

    def check_name(self, name: str) -> None:
        """Check that there is such a network.

        Args:
            name: what follows the source's prefix in `model.name`.

        Raises:
            UserError: there is none.
        """
        raise NotImplementedError

    def make(self, name: str, arguments: Mapping[str, Any], size: int, n_classes: int) -> nn.Module:
        """A network with fresh weights. An error of any kind means that these arguments do not fit."""
        raise NotImplementedError

    def signature(self, name: str, error: TypeError) -> inspect.Signature:
        """What takes the arguments of a network, for an error about one that is not taken."""
        raise NotImplementedError

    def heads(self, network: nn.Module, n_classes: int) -> tuple[str, ...]:
        """Names of the last layers: the one before the output, or several that are averaged."""
        return tuple(filter(None, [last_layer(network, n_classes)]))

    def stem(self, network: nn.Module, arguments: Mapping[str, Any]) -> str | None:
        """Name of the first convolution, if it is of another size than in the network's published weights."""
        return None

    def check_weights(self, name: str, which: str) -> None:
        """Check that there are weights of that name, without reading them.

        Raises:
            UserError: there are none.
        """
        raise UserError(
            f"model.weights is {which!r}, but must be null or a file ({', '.join(FILES)}): {name} has no others"
        )

    def weights(self, name: str, which: str) -> Weights:
        """The weights of that name.

        Raises:
            UserError: there are none, or they cannot be had.
        """
        self.check_weights(name, which)
        raise AssertionError

    def made_for(self, name: str, which: str) -> Preprocessing | None:
        """The images that weights were trained on, as they say themselves; None if that is not known.

        Args:
            which: name of the weights, or a file.
        """
        return None

    def transform(self, name: str, which: str) -> tuple[Callable[[Image], torch.Tensor], str] | None:
        """The preprocessing of the weights' owner: what makes an RGB image of any size the network's input (3, H, W),
        and how to call it in a sentence. None if that is not known.

        Args:
            which: name of the weights, or a file.
        """
        return None

    def class_names(self, name: str, which: str) -> Names | None:
        """The names of the outputs that weights have, from their registry; None if they are not known.

        Args:
            which: name of the weights, which the registry has.
        """
        return None

    def has_size(self, name: str) -> bool:
        """Whether a network is made for one size of images: `resize` changes it."""
        return False

    def resize(self, network: nn.Module, size: int) -> None:
        """Change the size of the input of a network, with its weights.

        Raises:
            UserError: it cannot be changed.
        """

    def suit(self, network: nn.Module, name: str, which: str | None) -> None:
        """Set a network up for weights that were loaded; None: fresh ones."""


def built(source: Source, full: str, name: str, arguments: Mapping[str, Any], size: int, n_classes: int) -> nn.Module:
    """The network of a source, tried out on an image.

    Args:
        full, name: `model.name`, with and without the source's prefix.

    Raises:
        UserError: an argument is not taken or has a wrong value, or the network has no weights or cannot take such
            images.
    """
    source.check_name(name)
    try:
        network = source.make(name, arguments, size, n_classes)
    except UserError:
        raise
    except Exception as error:  # code of others raises any kind
        if isinstance(error, TypeError) and (unknown := _not_taken(error, arguments)):
            # One that the source sets itself has a name there as well.
            taken = cut(", ".join(key for key in source.signature(name, error).parameters if key != unknown), 400)
            raise UserError(f"model.arguments.{unknown} is not taken by {full}, which takes {taken}") from None
        raise UserError(
            f"{full} (model.name) cannot be made for images of {size} x {size} pixels with model.arguments = "
            f"{dict(arguments)} ({reason(error)}): change model.arguments or model.input_size"
        ) from error
    if not isinstance(network, nn.Module):
        raise UserError(f"{full} (model.name) returns {type(network).__name__}, but must return a torch.nn.Module")
    if source.ending is None and not any(True for _ in network.parameters()):
        raise UserError(f"{full} (model.name) has no weights to train")
    try:
        device = device_of(network)
        with evaluating(network), torch.no_grad():
            outputs = network(torch.zeros(1, 3, size, size, device=device))
    except Exception as error:
        raise UserError(
            f"{full} (model.name) cannot take images of {size} x {size} pixels ({reason(error)}): change "
            "model.input_size"
        ) from error
    if not isinstance(outputs, torch.Tensor) or outputs.shape != (1, n_classes):
        shape = tuple(outputs.shape) if isinstance(outputs, torch.Tensor) else type(outputs).__name__
        raise UserError(
            f"{full} (model.name) gives {shape} for one image, but must give logits of shape (1, {n_classes})"
        )
    return network


def nearest(prefix: str, name: str, known: Iterable[str]) -> str:
    """A hint at the known network whose name is most like a wrong one; "" if none is."""
    close = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean {prefix}{close[0]}?)" if close else ""


def no_weights(which: str, network: str, known: Iterable[str]) -> UserError:
    """The error that a registry has no weights of that name for a network, which has those that are `known`."""
    return UserError(
        f"model.weights is {which!r}, but must be null, a file ({', '.join(FILES)}), or for {network} "
        f"{', '.join(known)}"
    )


def _not_taken(error: TypeError, arguments: Mapping[str, Any]) -> str | None:
    """The argument that an error says is not taken."""
    found = re.search(
        r"unexpected keyword argument '(\w+)'|multiple values for (?:keyword )?argument '(\w+)'", str(error)
    )
    name = found and (found[1] or found[2])
    return name if name in arguments else None


def taken_by(network: Callable[[], nn.Module], error: TypeError) -> inspect.Signature:
    """The signature of the class that an error names, among those that a network is of."""
    kind = type(network())
    named = re.match(r"(\w+)\.__init__\(\)", str(error))
    kinds = [k for k in kind.__mro__ if named and k.__name__ == named[1]] or [kind]
    parameters = list(inspect.signature(kinds[0].__init__).parameters.values())[1:]
    return inspect.Signature([p for p in parameters if p.kind is not inspect.Parameter.VAR_KEYWORD])
