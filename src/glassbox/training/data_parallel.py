"""A classifier for training on several ranks: layers that look at a whole batch, or draw random numbers for it, do what
they do in one process that has the whole batch."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable

from glassbox.models.classifier import Classifier
from glassbox.training.process_group import Ranks


@dataclass
class Batch:
    """The batch in work."""

    ranks: Ranks  # processes that share it
    images: int = 0  # their number in the whole batch; to be set before each forward pass


def joined(classifier: Classifier, ranks: Ranks, compiled: bool = False) -> tuple[Classifier, Batch]:
    """A twin of the classifier, with the same tensors as weights and statistics, that takes this rank's share of a
    batch.

    In training, its batch norms normalise with the mean and variance of the whole batch. Its dropouts draw for the
    whole batch, from the same random numbers on all ranks, and use their own rows. That covers `nn.Dropout` and classes
    derived from it, the stochastic depth of torchvision and timm, and the dropout before the last layer: all that
    torchvision's classification networks draw, and nearly all that timm's do. A network that draws in another way
    trains as well, but with the same numbers for the first image of each rank, for the second, and so on.

    Args:
        classifier: on the device where it trains; left as it is.
        ranks: all call this alike.
        compiled: whether the twin will be compiled.

    Returns:
        The twin, and the batch whose size it has to know. One rank alone gets the classifier itself.
    """
    batch = Batch(ranks)
    if ranks.size == 1:
        return classifier, batch
    shared = {id(tensor): tensor for tensor in (*classifier.parameters(), *classifier.buffers())}
    twin = copy.deepcopy(classifier, shared)
    on_cuda = classifier.mean.device.type == "cuda"
    if on_cuda:
        twin = nn.SyncBatchNorm.convert_sync_batchnorm(twin)  # which refuses tensors on the CPU
    # The compiler stops where ranks are summed over; without it, its import would take seconds.
    batch_norm = torch.compiler.disable(_batch_norm) if compiled else _batch_norm
    for module in twin.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and not on_cuda:
            module.forward = partial(batch_norm, module, batch)
        # Torchvision and timm, which have the stochastic depth, are not imported.
        elif isinstance(module, nn.Dropout) or type(module).__name__ in ("StochasticDepth", "DropPath"):
            module.forward = partial(_dropped, module, module.forward, batch)
        elif hasattr(type(module), "drop"):
            module.drop = partial(_dropped, module, module.drop, batch)
    return twin, batch


def _dropped(
    module: nn.Module, drop: Callable[[torch.Tensor], torch.Tensor], batch: Batch, x: torch.Tensor
) -> torch.Tensor:
    """This rank's rows of what `drop` makes of the whole batch, of which x (B, ...) is this rank's share. `drop`
    multiplies each value by a random number that does not depend on it."""
    if not module.training:
        return x
    own = batch.ranks.share(batch.images)
    assert len(x) == own.stop - own.start, "the first axis is that of the images"
    with torch.no_grad():
        # In the memory order of x, which decides what number comes to which value.
        strides = x.shape[1:].numel(), *torch.empty_like(x, device="meta").stride()[1:]
        ones = torch.empty_strided((batch.images, *x.shape[1:]), strides, dtype=x.dtype, device=x.device).fill_(1)
        factors = drop(ones)[own]
    return x * factors


def _batch_norm(module: nn.modules.batchnorm._BatchNorm, batch: Batch, x: torch.Tensor) -> torch.Tensor:
    """Batch norm on the CPU over the batch of all ranks (Ioffe & Szegedy 2015, algorithm 1).

    Raises:
        ValueError: a channel has one value on all ranks together.
    """
    if not module.training:
        return type(module).forward(module, x)
    count = batch.images * x.shape[2:].numel()  # values of a channel
    if count < 2:
        raise ValueError(f"batch norm needs more than one value a channel in training, and {count} is there")
    mean, variance = _statistics(x, batch.ranks, count)
    if module.track_running_stats:
        module.num_batches_tracked.add_(1)
        new = 1 / module.num_batches_tracked.item() if module.momentum is None else module.momentum
        module.running_mean.lerp_(mean, new)
        module.running_var.lerp_(variance * (count / (count - 1)), new)
    return _Normalized.apply(x, module.weight, module.bias, mean, variance, count, module.eps, batch.ranks)


@torch.no_grad()
def _statistics(x: torch.Tensor, ranks: Ranks, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and variance of each channel (C,) over all ranks."""
    dtype = torch.promote_types(x.dtype, torch.float32)  # bfloat16 would round them
    sums = torch.zeros(2, x.shape[1], dtype=torch.float64)
    if x.numel():
        stats = torch.batch_norm_update_stats(x.to(dtype), None, None, 0.0)
        own_mean, own_variance = (values.double() for values in stats)
        sums = torch.stack([own_mean, own_variance + own_mean.square()]) * (x.numel() // x.shape[1])
    mean, squares = ranks.sum(sums) / count
    return mean.to(dtype), (squares - mean.square()).clamp_min(0).to(dtype)


class _Normalized(torch.autograd.Function):
    """(x - mean) / sqrt(variance + eps) * weight + bias. Mean and variance depend on all ranks' x, so the gradient of
    each x depends on all ranks' gradients of the output. Gradients of weight and bias are those of the rank's share."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor | None,
        bias: torch.Tensor | None,
        mean: torch.Tensor,
        variance: torch.Tensor,
        count: int,
        eps: float,
        ranks: Ranks,
    ) -> torch.Tensor:
        ctx.save_for_backward(x, weight, mean, variance)
        ctx.count, ctx.eps, ctx.ranks = count, eps, ranks
        if not x.numel():  # PyTorch's kernels would divide by zero
            return torch.empty_like(x)
        return nn.functional.batch_norm(x, mean, variance, weight, bias, eps=eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight, mean, variance = ctx.saved_tensors
        to_x, to_weight, to_bias = torch.empty_like(x), torch.zeros_like(mean), torch.zeros_like(mean)
        if x.numel():  # as if mean and variance were constants
            to_x, to_weight, to_bias = torch.ops.aten.native_batch_norm_backward(
                gradient, x, weight, mean, variance, None, None, False, ctx.eps, [True, True, True]
            )
        of_weight, of_bias = ctx.ranks.sum(torch.stack([to_weight, to_bias])) / ctx.count
        # With z = (x - mean) / deviation: dL/dx = weight / deviation * (dL/dy - mean(dL/dy) - z * mean(z * dL/dy)).
        if x.numel():
            factor = -(variance + ctx.eps).rsqrt() * (1 if weight is None else weight)
            to_x += nn.functional.batch_norm(x, mean, variance, factor * of_weight, factor * of_bias, eps=ctx.eps)
        return to_x, *((None, None) if weight is None else (to_weight, to_bias)), None, None, None, None, None
