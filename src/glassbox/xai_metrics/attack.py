"""Attacks on explanations: images that look the same and are classified the same, with other maps.

Most explainers are not differentiable, so an attack goes through a differentiable surrogate: the gradient times the
image, Grad-CAM's features, or the occlusion of the cells of a grid, for the three ways in which explainers query a
model. On the attacked images the explainers' maps are measured, not the surrogate's.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from glassbox.data.batches import to_float
from glassbox.explainers.base import Request
from glassbox.models import Classifier, device_of, frozen, probabilities
from glassbox.models.layers import tensor_in, with_tensor
from glassbox.xai_metrics.correlation import grid

CELLS = 6  # along a side of the occlusion grid
SHARPNESS = 10.0  # beta of the softplus: the higher, the nearer to ReLU, and the smaller the second derivatives

Surrogate = Callable[[Classifier, torch.Tensor, torch.Tensor], torch.Tensor]  # (N, 3, H, W), (N,) -> (N, ...)


def by_gradient(classifier: Classifier, x: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Gradient of the target's logit times the image, summed over channels: (N, H, W)."""
    logits = classifier(x).gather(1, targets[:, None]).sum()
    (gradient,) = torch.autograd.grad(logits, x, create_graph=True)
    return (gradient * x).sum(dim=1)


def by_features(classifier: Classifier, x: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Grad-CAM before it is enlarged: (N, h, w)."""
    outputs: list[torch.Tensor] = []

    def keep(_: nn.Module, __: tuple[torch.Tensor, ...], output: Any) -> Any:
        outputs.append(tensor_in(output))
        return with_tensor(output, outputs[-1].clone())  # later layers may overwrite it

    handle = classifier.grad_cam_layer(x.shape[-1]).register_forward_hook(keep)
    try:
        logits = classifier(x).gather(1, targets[:, None]).sum()
    finally:
        handle.remove()
    (features,) = outputs  # the layer runs once
    (gradient,) = torch.autograd.grad(logits, features, create_graph=True)
    features, gradient = classifier.feature_maps(features), classifier.feature_maps(gradient)
    return functional.relu((gradient.mean(dim=(2, 3), keepdim=True) * features).sum(dim=1))


def by_regions(classifier: Classifier, x: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Drop of the target's log-probability when a cell of a grid takes the image's mean colour: (N, S)."""
    n, c, h, w = x.shape
    cells = torch.from_numpy(grid(h, w, CELLS)).to(x.device)
    hidden = torch.stack([cells == cell for cell in range(int(cells.max()) + 1)])  # (S, H, W)
    mean = x.mean(dim=(2, 3), keepdim=True)[:, None]  # (N, 1, 3, 1, 1)
    mixed = torch.where(hidden[None, :, None], mean, x[:, None])  # (N, S, 3, H, W)
    together = torch.cat([x[:, None], mixed], dim=1).view(-1, c, h, w)
    chosen = targets.repeat_interleave(len(hidden) + 1)[:, None]
    p = classifier(together).log_softmax(dim=1).gather(1, chosen).view(n, -1)
    return p[:, :1] - p[:, 1:]


SURROGATES: dict[str, Surrogate] = {"gradient": by_gradient, "features": by_features, "regions": by_regions}


def parts(n: int, surrogate: Surrogate, batch_size: int) -> list[slice]:
    """The rows of `n` images, in parts for `attack`."""
    size = max(1, batch_size // (CELLS**2 + 1 if surrogate is by_regions else 1))
    return [slice(start, start + size) for start in range(0, n, size)]


def attack(
    classifier: Classifier,
    request: Request,
    surrogate: Surrogate,
    *,
    radius: float,
    steps: int,
    batch_size: int,
) -> np.ndarray:
    """Projected gradient ascent (Madry et al. 2018) on the distance of the surrogate's map from that of the unchanged
    image. ReLU is smoothed to softplus, so that gradients change with the image (Dombrowski et al. 2019).

    Args:
        classifier: left as it was.
        request: N images, attacked together (see `parts`), their predicted classes, and seeds of the random starts.
        surrogate: the differentiable explainer.
        radius: largest change of a colour, 0..1.
        steps: number of steps.
        batch_size: images in one forward pass that checks predictions.

    Returns:
        (N, H, W, 3) uint8: of all points on the way that keep the prediction, the one with the farthest map; the image
        itself if there is none.
    """
    device = device_of(classifier)
    x, targets = to_float(request.images.to(device)), request.targets.to(device)
    starts = [np.random.default_rng(seed).uniform(-1, 1, tuple(x.shape[1:])) for seed in request.seeds]
    delta = radius * torch.from_numpy(np.stack(starts)).to(x)
    best, farthest = _colours(x), torch.zeros(len(x), device=device)

    def smooth_map(points: torch.Tensor) -> torch.Tensor:
        with Smooth(), sdpa_kernel(SDPBackend.MATH):  # the faster kernels of attention have no second derivative
            return surrogate(classifier, points, targets)

    with frozen(classifier):
        goal = smooth_map(x.clone().requires_grad_(True)).detach()
        size = goal.flatten(1).norm(dim=1).clamp_min(torch.finfo(goal.dtype).tiny)
        for step in range(steps + 1):
            moved = (x + delta).clamp(0, 1).requires_grad_(True)
            distance = (smooth_map(moved) - goal).flatten(1).norm(dim=1) / size
            colours = _colours(moved.detach())
            stays = probabilities(classifier, colours, batch_size).argmax(dim=1).to(device) == targets
            better = stays & (distance.detach() > farthest)
            best = torch.where(better[:, None, None, None], colours, best)
            farthest = torch.where(better, distance.detach(), farthest)
            if step < steps:
                (gradient,) = torch.autograd.grad(distance.sum(), moved)
                delta = (delta + 2.5 * radius / steps * gradient.sign()).clamp(-radius, radius)
    return best.cpu().numpy()


def _colours(x: torch.Tensor) -> torch.Tensor:
    """(N, H, W, 3) uint8."""
    return (255 * x).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


class Smooth(TorchFunctionMode):
    """Inside it ReLU is softplus, leaky ReLU its sum with a line, and hard sigmoid and hard swish, which have no second
    derivative in PyTorch, are made of two softplus; as layers and as functions."""

    def __torch_function__(
        self, function: Callable, _: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if function in (functional.relu, torch.relu, torch.relu_, torch.Tensor.relu, torch.Tensor.relu_):
            return functional.softplus(args[0], beta=SHARPNESS)
        if function is functional.leaky_relu:
            slope = args[1] if len(args) > 1 else kwargs.get("negative_slope", 0.01)
            return slope * args[0] + (1 - slope) * functional.softplus(args[0], beta=SHARPNESS)
        if function is functional.hardsigmoid:
            return _ramp(args[0] + 3) / 6
        if function is functional.hardswish:
            return args[0] * _ramp(args[0] + 3) / 6
        return function(*args, **kwargs)


def _ramp(x: torch.Tensor) -> torch.Tensor:
    """Smooth min(max(x, 0), 6)."""
    return functional.softplus(x, beta=SHARPNESS) - functional.softplus(x - 6, beta=SHARPNESS)
