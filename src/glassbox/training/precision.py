"""Which precision a network is trained in, where that is left to `auto`."""

from dataclasses import replace

import torch
from torch import nn

from glassbox.execution.compute import Place
from glassbox.models import Classifier, device_of, evaluating

# On the CPU. bfloat16 makes products quicker, and costs a conversion for every number that goes in or out. Below about
# so many multiply-adds for each result it does not pay: benchmarks/training_precision.py.
FEWEST = 75


def suited(place: Place, classifier: Classifier, side: int) -> Place:
    """The place, with float32 where its precision is `auto` and bfloat16 would be slower, as for MobileNet and
    EfficientNet on the CPU. That is worked out from the network and not by a clock, so that the same study has the same
    bytes.

    Args:
        classifier: on the place's device; left as it was.
        side: of its images, pixels.
    """
    if not place.automatic or place.device.type != "cpu" or place.dtype == torch.float32:
        return place
    enough = products_per_result(classifier, side) >= FEWEST
    return place if enough else replace(place, dtype=torch.float32)


@torch.no_grad()
def products_per_result(classifier: Classifier, side: int) -> float:
    """Multiply-adds of all convolutions and dense layers for an image, by the numbers that these give."""
    products, results = 0, 0

    def count(module: nn.Module, _: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal products, results
        products += output.numel() * module.weight[0].numel()
        results += output.numel()

    layers = [module for module in classifier.modules() if isinstance(module, (nn.Conv2d, nn.Linear))]
    handles = [layer.register_forward_hook(count) for layer in layers]
    try:
        with evaluating(classifier):
            classifier(torch.zeros(1, 3, side, side, device=device_of(classifier)))
    finally:
        for handle in handles:
            handle.remove()
    return products / max(1, results)
