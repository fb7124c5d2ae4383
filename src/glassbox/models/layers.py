"""What a network is made of: layer by layer, as Keras's model.summary() shows it."""

from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn
from torch.autograd.graph import Node


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


def load_tensors(module: nn.Module, tensors: dict[str, torch.Tensor], strict: bool = True) -> None:
    """`load_state_dict` of tensors from a file that does not hold the versions of the modules, as safetensors do not:
    they are taken for those of today, without which torchvision's MNASNet loads nothing."""
    state = OrderedDict(tensors)
    state._metadata = module.state_dict()._metadata
    module.load_state_dict(state, strict=strict)


def single_path(network: nn.Module, x: torch.Tensor) -> list[tuple[nn.Module, torch.Size]]:
    """The modules that run once in a forward pass and whose output every path from the input to the output passes: no
    shortcut and no parallel branch bypasses them.

    Paths are those of autograd's graph. A tensor is on all of them if the number of paths from the network's output
    to the tensor, times the number from there to the input, is the number of all paths.

    Args:
        network: in any mode; left as it was.
        x: (N, 3, H, W), on the network's device.

    Returns:
        Each module with the shape of its output, in the order in which they end.
    """
    calls: Counter[nn.Module] = Counter()
    outputs: dict[nn.Module, tuple[tuple[Node, int], torch.Size]] = {}

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
    all_paths, through = _paths(output)
    return [
        (module, shape)
        for module, (tensor, shape) in outputs.items()
        if calls[module] == 1 and through[tensor] == all_paths
    ]


def _paths(output: torch.Tensor) -> tuple[int, Counter[tuple[Node, int]]]:
    """How many paths lead in autograd's graph from a tensor to the only leaf, and how many of them pass each tensor in
    between: one is named by the operation that made it and its number among the results of that operation."""
    order: dict[Node, int] = {}  # each operation after those that made its operands, with its paths to the leaf
    stack = [(output.grad_fn, False)]
    while stack:
        node, seen = stack.pop()
        operands = [operand for operand, _ in node.next_functions if operand is not None]
        if seen:
            order[node] = sum(order[operand] for operand in operands) if operands else 1
        elif node not in order:
            stack += [(node, True), *((operand, False) for operand in operands if operand not in order)]
    before: Counter[tuple[Node, int]] = Counter({(output.grad_fn, output.output_nr): 1})  # paths from the output
    of_node: Counter[Node] = Counter({output.grad_fn: 1})
    for node in reversed(order):
        for operand, number in node.next_functions:
            if operand is not None:
                before[operand, number] += of_node[node]
                of_node[operand] += of_node[node]
    return order[output.grad_fn], Counter({tensor: paths * order[tensor[0]] for tensor, paths in before.items()})


def last_feature_maps(network: nn.Module, size: int) -> nn.Module | None:
    """The layer for Grad-CAM: of the modules of `single_path` the last whose output still is feature maps with more
    than one place, (N, C, h, h) with h > 1; so of a ResNet the last stage, if its input is large enough for that.

    None where what comes last before the places are merged into one is not laid out so, but as tokens (N, T, C) or
    channels last (N, h, h, C), as in vision transformers: what comes before them, such as the embedding of the
    patches, is too early to say much of the decision.

    Args:
        network: takes (N, 3, size, size); left as it was.
        size: side of the image, pixels.
    """
    last = None
    for module, shape in single_path(network, next(network.parameters()).new_zeros(1, 3, size, size)):
        if shape[1:].numel() == max(shape[1:]):  # channels alone: one place is left
            break
        if not isinstance(module, nn.AdaptiveAvgPool2d):  # it makes as many places as it is set to, whatever it gets
            last = module if len(shape) == 4 and shape[2] == shape[3] > 1 else None
    return last


def _buffers(module: nn.Module) -> list[torch.Tensor]:
    # The counter of batches that PyTorch keeps is no parameter.
    return [buffer for name, buffer in module.named_buffers() if not name.endswith("num_batches_tracked")]
