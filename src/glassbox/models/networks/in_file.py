"""What the sources of networks in files share: such a file has a network and its weights together."""

import hashlib
import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from glassbox.config.types import NETWORK_FILES
from glassbox.core.errors import UserError
from glassbox.models.layers import device_of
from glassbox.models.networks.base import Source
from glassbox.models.weights import no_file, reason


class Unfit(ValueError):
    """Why a network in a file is not taken: the end of a sentence that begins with it."""


class FileNetwork(nn.Module):
    """A network that a file holds. Copies of it and other processes open the file's content once more, for what a
    library has made of it cannot be copied.

    Attributes:
        content: of the file.
        arguments: with which it was opened.
        has_gradients: see `Source`.
        side: of the images that it takes, pixels; None takes any.
        outputs: their number.
        notes: sentences about it.
    """

    has_gradients = True
    side: int | None = None
    outputs: int
    notes: Sequence[str] = ()

    def __init__(self, content: bytes, arguments: Mapping[str, Any]) -> None:
        super().__init__()
        self.content, self.arguments = content, dict(arguments)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (N, outputs) of images (N, 3, H, W)."""
        raise NotImplementedError

    def get_extra_state(self) -> torch.Tensor:
        """What is kept with the weights: the SHA-256 of the file that they belong to, as bytes."""
        return torch.frombuffer(bytearray(hashlib.sha256(self.content).digest()), dtype=torch.uint8)

    def set_extra_state(self, state: torch.Tensor) -> None:
        if not torch.equal(state.cpu(), self.get_extra_state()):
            raise RuntimeError("its weights are those of another file of a network")

    def __reduce__(self) -> tuple[Any, ...]:
        state = type(self), self.content, self.arguments, self.state_dict(), self.training, device_of(self)
        return _opened_again, state


def _opened_again(
    kind: type[FileNetwork],
    content: bytes,
    arguments: dict[str, Any],
    state: dict[str, torch.Tensor],
    training: bool,
    device: torch.device,
) -> FileNetwork:
    network = kind(content, **arguments).to(device, memory_format=torch.channels_last).train(training)
    network.load_state_dict(state)
    return network


class InFile(Source):
    """A source of networks in files; `file` names one.

    Class attributes:
        name: `model.name`.
        kind: opens the content of a file, given the arguments.
    """

    name: str
    kind: type[FileNetwork]

    def __init__(self, file: str | None = None) -> None:
        self.file = file

    def of_file(self, file: str | None) -> Source:
        return type(self)(file)

    @property
    def ending(self) -> str:
        return NETWORK_FILES[self.name]

    def check_name(self, name: str) -> None:
        if self.file is None or not Path(self.file).exists():
            raise no_file(str(self.file))

    def outputs(self, arguments: Mapping[str, Any]) -> int:
        return self._open(arguments).outputs

    def make(self, name: str, arguments: Mapping[str, Any], size: int, n_classes: int) -> nn.Module:
        network = self._open(arguments)
        if network.side not in (None, size):
            raise UserError(
                f"model.weights: the network in {self.file} takes images of {network.side} x {network.side} pixels, "
                f"not {size} x {size}: set model.input_size to {network.side}"
            )
        if network.outputs != n_classes:
            raise UserError(
                f"model.weights: the network in {self.file} has {network.outputs} outputs, but there are "
                f"{n_classes} classes: name one for each output in model.classes"
            )
        return network

    def _open(self, arguments: Mapping[str, Any]) -> FileNetwork:
        taken = [*inspect.signature(self.kind).parameters][1:]  # after the content
        for argument in arguments:
            if argument not in taken:
                what = f"which takes {', '.join(taken)}" if taken else "which takes none"
                raise UserError(f"model.arguments.{argument} is not taken by {self.name}, {what}")
        try:
            return self.kind(Path(self.file).read_bytes(), **arguments)
        except UserError:
            raise
        except Unfit as error:
            raise UserError(f"model.weights: the network in {self.file} {error}") from None
        except Exception as error:  # a library's own, of any kind
            if (other := Path(f"{self.file}.data")).exists():
                raise UserError(
                    f"model.weights: {self.file} has its weights in another file, {other}: export it in one, as with "
                    "torch.onnx.export(..., external_data=False)"
                ) from error
            raise UserError(
                f"model.weights: the file {self.file} cannot be read as model.name = {self.name} says ({reason(error)})"
            ) from error
