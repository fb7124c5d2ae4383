"""What a network is made of: layer by layer, as Keras's model.summary() shows it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode inside the block; every sub-module is as before afterwards."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes.items():
            part.training = mode


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Evaluation mode inside the block, and no gradients of weights, which would cost as much again as those of images
    and stay behind; everything is as before afterwards."""
    wanted = [parameter.requires_grad for parameter in module.parameters()]
    module.requires_grad_(False)
    try:
        with evaluating(module):
            yield
    finally:
        for parameter, flag in zip(module.parameters(), wanted, strict=True):
            parameter.requires_grad_(flag)


@dataclass(frozen=True)
class Layer:
    """One layer.

    Attributes:
        name: in the network.
        kind: its class.
        shape: of its output for one image, like "32 x 10 x 10" (channels, height, width).
        parameters: all of its numbers; batch norm's running mean and variance count.
        trainable: those that training changes by gradients.
    """

    name: str
    kind: str
    shape: str
    parameters: int
    trainable: int


def layers(network: nn.Module, image_size: int) -> list[Layer]:
    """The layers in the order in which an image first goes through them.

    Args:
        network: takes (N, 3, image_size, image_size); left as it was.
        image_size: side of the image, pixels.
    """
    found: list[Layer] = []

    def record(name: str, module: nn.Module, output: torch.Tensor) -> None:
        if any(layer.name == name for layer in found):
            return  # one without weights that serves several times
        numbers = totals(module)
        shape = " x ".join(str(side) for side in output.shape[1:])
        found.append(Layer(name, type(module).__name__, shape, numbers["total"], numbers["trainable"]))

    leaves = [(name, module) for name, module in network.named_modules() if not list(module.children())]
    handles = [
        module.register_forward_hook(lambda module, _, output, name=name: record(name, module, output))
        for name, module in leaves
    ]
    try:
        with evaluating(network), torch.no_grad():
            network(next(network.parameters()).new_zeros(1, 3, image_size, image_size))
    finally:
        for handle in handles:
            handle.remove()
    return found


def totals(network: nn.Module) -> dict[str, int]:
    """Numbers of parameters as Keras counts them, shared ones once: not trainable are buffers, which batch norm keeps
    its running statistics in, and frozen weights."""
    numbers = {"trainable": 0, "non_trainable": sum(buffer.numel() for buffer in _buffers(network))}
    for parameter in network.parameters():
        numbers["trainable" if parameter.requires_grad else "non_trainable"] += parameter.numel()
    return {"total": sum(numbers.values())} | numbers


def _buffers(module: nn.Module) -> list[torch.Tensor]:
    # The counter of batches that PyTorch keeps is no parameter.
    return [buffer for name, buffer in module.named_buffers() if not name.endswith("num_batches_tracked")]
