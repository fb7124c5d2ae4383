"""What a network is made of: layer by layer, as Keras's model.summary() shows it."""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import nn


def device_of(module: nn.Module) -> torch.device:
    """The device of a module's weights or, if it has none, of its statistics; the CPU if it has neither."""
    tensor = next(chain(module.parameters(), module.buffers()), None)
    return torch.device("cpu") if tensor is None else tensor.device


def tensor_in(output: Any) -> torch.Tensor | None:
    """What a module gives: a tensor, or the only tensor among sizes, which modules of a program of torch.export hand on
    to each other; None for anything else."""
    if isinstance(output, list | tuple):
        tensors = [item for item in output if isinstance(item, torch.Tensor)]
        sizes = [item for item in output if isinstance(item, int)]
        return tensors[0] if len(tensors) == 1 and len(tensors) + len(sizes) == len(output) else None
    return output if isinstance(output, torch.Tensor) else None


def with_tensor(output: Any, tensor: torch.Tensor) -> Any:
    """The output of a module with another tensor in the place of `tensor_in`."""
    if isinstance(output, list | tuple):
        return type(output)(tensor if isinstance(item, torch.Tensor) else item for item in output)
    return tensor


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
    shape: str  # of its output for one image, if that is a tensor, like "32 x 10 x 10" (channels, height, width)
    parameters: int  # their number, with batch norm's running mean and variance
    trainable: int  # those that training changes by gradients


def layers(network: nn.Module, image_size: int) -> list[Layer]:
    """The layers of a network that takes (N, 3, image_size, image_size), in the order in which an image first goes
    through them."""
    rows: list[Layer] = []

    def record(name: str, module: nn.Module, output: Any) -> None:
        if any(layer.name == name for layer in rows):
            return  # it runs several times
        numbers, tensor = totals(module), tensor_in(output)
        shape = "" if tensor is None else " x ".join(str(side) for side in tensor.shape[1:])
        rows.append(Layer(name, _kind(module), shape, numbers["total"], numbers["trainable"]))

    handles = [
        module.register_forward_hook(lambda module, _, output, name=name: record(name, module, output))
        for name, module in network.named_modules()
        if not list(module.children())
    ]
    try:
        with evaluating(network), torch.no_grad():
            network(torch.zeros(1, 3, image_size, image_size, device=device_of(network)))
    finally:
        for handle in handles:
            handle.remove()
    return rows


def _kind(module: nn.Module) -> str:
    """The class of a layer; in a program of torch.export, that of the layer that was exported."""
    name = type(module).__name__
    return module.type_name().rpartition(".")[2] if name == "InterpreterModule" and module.type_name() else name


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
