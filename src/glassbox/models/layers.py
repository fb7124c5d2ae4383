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
    """The layers in the order in which an image goes through them.

    Args:
        network: takes (N, 3, image_size, image_size); left as it was.
        image_size: side of the image, pixels.
    """
    found: list[Layer] = []

    def record(name: str, module: nn.Module, output: torch.Tensor) -> None:
        trainable = sum(p.numel() for p in module.parameters())
        # The counter of batches that PyTorch keeps is no parameter.
        running = sum(b.numel() for key, b in module.named_buffers() if key != "num_batches_tracked")
        shape = " x ".join(str(side) for side in output.shape[1:])
        found.append(Layer(name, type(module).__name__, shape, trainable + running, trainable))

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


def totals(rows: list[Layer]) -> dict[str, int]:
    """Numbers of parameters as Keras counts them: what is not trainable are batch norm's running statistics."""
    total, trainable = sum(row.parameters for row in rows), sum(row.trainable for row in rows)
    return {"total": total, "trainable": trainable, "non_trainable": total - trainable}
