"""Features of places in the image: the layer that Grad-CAM explains, in convolutional networks and transformers."""

import math
from collections import Counter

import torch
from torch import nn
from torch.autograd.graph import Node

from glassbox.models.layers import device_of, frozen, tensor_in

Edge = tuple[Node, int]  # in autograd's graph
MOST_PREFIX = 16  # class and register tokens


def as_maps(features: torch.Tensor, prefix: int | None = None) -> torch.Tensor | None:
    """Features of square images, as (N, C, h, h) with h > 1; None if they are laid out in no known way.

    Args:
        features: (N, C, h, h); channels last, (N, h, h, C), as in Swin; or tokens (N, T, C), of which the last h * h
            are those of places, row by row, and those before them class and register tokens.
        prefix: number of class and register tokens, if it is known and they are there; else the fewest that leave a
            square are taken for such.
    """
    shape = features.shape
    if len(shape) == 4 and shape[2] == shape[3] > 1:
        return features
    if len(shape) == 4 and shape[1] == shape[2] > 1:
        return features.permute(0, 3, 1, 2)
    if len(shape) != 3:
        return None
    for first in (prefix or 0, *range(MOST_PREFIX)):
        side = math.isqrt(max(shape[1] - first, 0))
        if side > 1 and side**2 == shape[1] - first:
            return features[:, first:].transpose(1, 2).unflatten(2, (side, side))
    return None


def last_layer(network: nn.Module, n_classes: int) -> str:
    """Name of the last dense layer or convolution with an output for each class; "" if there is none."""
    found = [
        name
        for name, module in network.named_modules()
        if (isinstance(module, nn.Linear) and module.out_features == n_classes)
        or (isinstance(module, nn.Conv2d) and module.out_channels == n_classes)
    ]
    return found[-1] if found else ""


def last_feature_maps(network: nn.Module, size: int) -> nn.Module | None:
    """The layer for Grad-CAM: the last module of `single_path` whose output is features of more than one place, see
    `as_maps`, that the decision depends on.

    In a vision transformer whose decision is read off the class token, the last block's tokens of places lead nowhere:
    then it is the block before, whose tokens the last block attends to. A later layer with other features means that
    what comes earlier, such as the embedding of patches, is too early to explain the decision: None.

    Where tokens of several scales go side by side, as in CrossViT and TNT, no layer is on every path. There it is the
    last layer normalisation that runs once and whose tokens of places the decision depends on.

    Args:
        network: takes (N, 3, size, size).
    """
    prefix = getattr(network, "num_prefix_tokens", None)
    # Two images: some modules take the places of all images for rows of a batch.
    x = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0)).to(device_of(network))
    modules: list[nn.Module] = []
    for module, shape in single_path(network, x):
        if shape[0] != len(x):
            continue
        if shape[1:].numel() == max(shape[1:]):  # channels alone: one place is left
            break
        if isinstance(module, nn.AdaptiveAvgPool2d):  # it makes as many places as it is set to, whatever it gets
            continue
        has_places = as_maps(torch.empty(shape, device="meta"), prefix) is not None
        modules = [*modules, module] if has_places else []
    return _last_that_matters(network, modules, x, prefix) or _last_that_matters(
        network, _normalized_tokens(network, x), x, prefix
    )


def _normalized_tokens(network: nn.Module, x: torch.Tensor) -> list[nn.Module]:
    """The layer normalisations that run once in a forward pass and give tokens of places, in the order in which they
    end."""
    calls: Counter[nn.Module] = Counter()
    found: list[nn.Module] = []

    def record(module: nn.Module, _: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        calls[module] += 1
        if output.ndim == 3 and len(output) == len(x) and as_maps(output) is not None:
            found.append(module)

    norms = [module for module in network.modules() if isinstance(module, nn.LayerNorm)]
    handles = [module.register_forward_hook(record) for module in norms]
    try:
        with frozen(network), torch.no_grad():
            network(x)
    finally:
        for handle in handles:
            handle.remove()
    return [module for module in found if calls[module] == 1]


def _last_that_matters(
    network: nn.Module, modules: list[nn.Module], x: torch.Tensor, prefix: int | None
) -> nn.Module | None:
    """The last of modules from whose places a gradient of the features before the last layer comes back, or that comes
    after that layer. Not of the logits: some last layers begin with weights of zero."""
    outputs: dict[nn.Module, torch.Tensor] = {}
    features: list[torch.Tensor] = []
    handles = [
        module.register_forward_hook(lambda m, _, output: outputs.update({m: tensor_in(output)})) for module in modules
    ]
    try:
        with frozen(network), torch.enable_grad():
            n_classes = network(x).shape[1]
            for head in _last_layers(network, n_classes):
                handles.append(head.register_forward_pre_hook(lambda _, inputs: features.append(inputs[0])))
            logits = network(x.requires_grad_(True))
            generator = torch.Generator().manual_seed(1)
            goals = features or [logits]
            weighted = sum((goal * torch.rand(goal.shape, generator=generator).to(goal)).sum() for goal in goals)
            for module in reversed(modules):
                (gradient,) = torch.autograd.grad(weighted, outputs[module], retain_graph=True, allow_unused=True)
                if gradient is None or as_maps(gradient, prefix).abs().sum() > 0:
                    return module
    finally:
        for handle in handles:
            handle.remove()
    return None


def _last_layers(network: nn.Module, n_classes: int) -> list[nn.Module]:
    """The last layer, and those beside it where there is one for each of several streams of tokens."""
    name = last_layer(network, n_classes)
    if not name:
        return []
    last, beside = network.get_submodule(name), network.get_submodule(name.rpartition(".")[0])
    return [*beside] if isinstance(beside, nn.ModuleList) else [last]


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
        tensor = tensor_in(output)
        if tensor is not None and tensor.grad_fn is not None:
            outputs[module] = (tensor.grad_fn, tensor.output_nr), tensor.shape

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
