"""What a network is made of: layer by layer, as Keras's model.summary() shows it."""

from collections import OrderedDict
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
    """Evaluation mode inside the block, and no gradients of weights, which cost as much as those of images; everything
    is as before afterwards."""
    flags = [parameter.requires_grad for parameter in module.parameters()]
    module.requires_grad_(False)
    try:
        with evaluating(module):
            yield
    finally:
        for parameter, flag in zip(module.parameters(), flags, strict=True):
            parameter.requires_grad_(flag)


@dataclass(frozen=True)
class Layer:
    """One layer."""

    name: str  # in the network
    kind: str  # its class
    shape: str  # of its output for one image, like "32 x 10 x 10" (channels, height, width)
    parameters: int  # their number, with batch norm's running mean and variance
    trainable: int  # those that training changes by gradients


def layers(network: nn.Module, image_size: int) -> list[Layer]:
    """The layers of a network that takes (N, 3, image_size, image_size), in the order in which an image first goes
    through them."""
    rows: list[Layer] = []

    def record(name: str, module: nn.Module, output: torch.Tensor) -> None:
        if any(layer.name == name for layer in rows):
            return  # it runs several times
        numbers = totals(module)
        shape = " x ".join(str(side) for side in output.shape[1:])
        rows.append(Layer(name, type(module).__name__, shape, numbers["total"], numbers["trainable"]))

    handles = [
        module.register_forward_hook(lambda module, _, output, name=name: record(name, module, output))
        for name, module in network.named_modules()
        if not list(module.children())
    ]
    try:
        with evaluating(network), torch.no_grad():
            network(next(network.parameters()).new_zeros(1, 3, image_size, image_size))
    finally:
        for handle in handles:
            handle.remove()
    return rows


def totals(network: nn.Module) -> dict[str, int]:
    """Numbers of parameters as Keras counts them, shared ones once. Frozen weights and buffers, such as batch norm's
    running statistics, are not trainable."""
    # PyTorch's counter of batches is no parameter.
    buffers = [buffer for name, buffer in network.named_buffers() if not name.endswith("num_batches_tracked")]
    numbers = {"trainable": 0, "non_trainable": sum(buffer.numel() for buffer in buffers)}
    for parameter in network.parameters():
        numbers["trainable" if parameter.requires_grad else "non_trainable"] += parameter.numel()
    return {"total": sum(numbers.values())} | numbers


def load_tensors(module: nn.Module, tensors: dict[str, torch.Tensor], strict: bool = True) -> None:
    """`load_state_dict` of tensors from a file without the versions of modules, such as safetensors: today's versions
    are assumed, because torchvision's MNASNet loads nothing without one."""
    state = OrderedDict(tensors)
    state._metadata = module.state_dict()._metadata
    module.load_state_dict(state, strict=strict)
