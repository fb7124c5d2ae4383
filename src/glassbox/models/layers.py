"""What a network is made of: layer by layer, as Keras's model.summary() shows it."""

from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn
from torch.autograd.graph import Node

Edge = tuple[Node, int]  # in autograd's graph


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


def single_path(network: nn.Module, x: torch.Tensor) -> list[tuple[nn.Module, torch.Size]]:
    """The modules that run once in a forward pass of x (N, 3, H, W) and whose output every path from the input to the
    output passes: no shortcut and no parallel branch bypasses them. Paths are those of autograd's graph.

    Returns:
        Each module with the shape of its output, in the order in which they end.
    """
    calls: Counter[nn.Module] = Counter()
    outputs: dict[nn.Module, tuple[Edge, torch.Size]] = {}

    def record(module: nn.Module, _: tuple[torch.Tensor, ...], output: object) -> None:
        calls[module] += 1
        if isinstance(output, torch.Tensor) and output.grad_fn is not None:
            outputs[module] = (output.grad_fn, output.output_nr), output.shape

    handles = [module.register_forward_hook(record) for module in network.modules() if module is not network]
    try:
        with frozen(network), torch.enable_grad():
            output = network(x.detach().requires_grad_(True))
    finally:
        for handle in handles:
            handle.remove()
    if output.grad_fn is None:
        return []
    last = output.grad_fn, output.output_nr
    return [
        (module, shape)
        for module, (edge, shape) in outputs.items()
        if calls[module] == 1 and not _is_bypassed(edge, last)
    ]


def _is_bypassed(edge: Edge, last: Edge) -> bool:
    """Whether a path of autograd's graph leads from the last tensor to the only leaf, the input, around another tensor.
    A tensor is named by the operation that made it and its number among the results of that operation."""
    seen, stack = {edge}, [last]
    while stack:
        current = stack.pop()
        if current in seen:
            continue
        seen.add(current)
        operands = [operand for operand in current[0].next_functions if operand[0] is not None]
        if not operands:
            return True
        stack += operands
    return False


def last_feature_maps(network: nn.Module, size: int) -> nn.Module | None:
    """The layer for Grad-CAM: the last module of `single_path` whose output is feature maps (N, C, h, h) with h > 1,
    such as the last stage of a ResNet.

    None if the last output before places are merged into one is laid out differently, as tokens (N, T, C) or channels
    last (N, h, h, C) in vision transformers: what comes earlier, such as the embedding of patches, is too early to
    explain the decision. The network takes (N, 3, size, size).
    """
    last = None
    for module, shape in single_path(network, next(network.parameters()).new_zeros(1, 3, size, size)):
        if shape[1:].numel() == max(shape[1:]):  # channels alone: one place is left
            break
        if not isinstance(module, nn.AdaptiveAvgPool2d):  # it makes as many places as it is set to, whatever it gets
            last = module if len(shape) == 4 and shape[2] == shape[3] > 1 else None
    return last
