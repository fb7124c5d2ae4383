"""A classifier for training on several ranks: what looks at a whole batch, or draws random numbers for it, does so as
in one process that has the batch to itself."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.autograd.function import FunctionCtx, once_differentiable

from glassbox.models.classifier import Classifier
from glassbox.models.cnn import Dropout
from glassbox.training.process_group import Ranks


@dataclass
class Batch:
    """What is shared at present.

    Attributes:
        ranks: among whom.
        images: of the whole batch; to be set before each forward pass.
    """

    ranks: Ranks
    images: int = 0


def joined(classifier: Classifier, ranks: Ranks, compiled: bool = False) -> tuple[Classifier, Batch]:
    """A twin of the classifier, with the very same weights and statistics, that takes this rank's share of a batch.

    In training its batch norms normalise with the mean and variance of the whole batch, and its dropouts draw for the
    whole batch, from the same random numbers on all ranks, and take their rows: drawing is not shared. That goes for
    `nn.Dropout` and those derived from it, for torchvision's stochastic depth and for what is dropped before the last
    layer, which is all that torchvision's classification networks draw. A network of one's own that draws in another
    way trains as well, but with the same numbers for the first image of each rank, for the second, and so on.

    Args:
        classifier: on the device where it trains; left as it is.
        ranks: all of them call this alike.
        compiled: whether the twin will be.

    Returns:
        The twin, and the batch that it is told of.
    """
    shared = {id(tensor): tensor for tensor in (*classifier.parameters(), *classifier.buffers())}
    twin, batch = copy.deepcopy(classifier, shared), Batch(ranks)
    on_cuda = classifier.mean.device.type == "cuda"
    if on_cuda:
        twin = nn.SyncBatchNorm.convert_sync_batchnorm(twin)
    # The compiler has to stop where ranks are summed over; where it is not used, its import would take seconds.
    batch_norm = torch.compiler.disable(_batch_norm) if compiled else _batch_norm
    for module in twin.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and not on_cuda:  # PyTorch's own runs on CUDA alone
            module.forward = partial(batch_norm, module, ranks)
        elif isinstance(module, Dropout) or (isinstance(module, nn.Dropout) and module.p):
            module.forward = partial(_dropped, module, module.forward, batch)
        elif type(module).__name__ == "StochasticDepth" and module.p:  # torchvision's, whose import takes its time
            module.forward = partial(_dropped, module, module.forward, batch, of_images=True)
        elif hasattr(type(module), "drop"):
            module.drop = partial(_dropped, module, module.drop, batch)
    return twin, batch


def _dropped(
    module: nn.Module,
    drop: Callable[[torch.Tensor], torch.Tensor],
    batch: Batch,
    x: torch.Tensor,
    of_images: bool = False,
) -> torch.Tensor:
    """What `drop` makes of the whole batch, of which `x` is this rank's share.

    Args:
        module: whose mode counts.
        drop: multiplies each value by a random number that does not depend on it.
        batch: the whole one.
        x: (B, ...).
        of_images: whether all values of an image are dropped together.
    """
    if not module.training:
        return x
    own = batch.ranks.share(batch.images)
    assert len(x) == own.stop - own.start, "the first axis is that of the images"
    with torch.no_grad():
        if of_images:
            ones = x.new_ones((batch.images, *[1] * (x.ndim - 1)))
        else:  # in the memory order of x, which decides what number comes to which value
            strides = x.shape[1:].numel(), *torch.empty_like(x, device="meta").stride()[1:]
            ones = torch.empty_strided((batch.images, *x.shape[1:]), strides, dtype=x.dtype, device=x.device).fill_(1)
        factors = drop(ones)[own]
    return x * factors


def _batch_norm(module: nn.modules.batchnorm._BatchNorm, ranks: Ranks, x: torch.Tensor) -> torch.Tensor:
    """Batch norm on the CPU over the batch of all ranks (Ioffe & Szegedy 2015, algorithm 1).

    Raises:
        ValueError: a channel has one value on all ranks together.
    """
    if not module.training:
        return type(module).forward(module, x)
    mean, variance, count = _statistics(x, ranks)
    if count < 2:
        raise ValueError(f"batch norm needs more than one value a channel in training, and {count} is there")
    if module.track_running_stats:
        module.num_batches_tracked.add_(1)
        new = 1 / module.num_batches_tracked.item() if module.momentum is None else module.momentum
        module.running_mean.lerp_(mean, new)
        module.running_var.lerp_(variance * (count / (count - 1)), new)
    return _Normalized.apply(x, module.weight, module.bias, mean, variance, count, module.eps, ranks)


@torch.no_grad()
def _statistics(x: torch.Tensor, ranks: Ranks) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Mean and variance of each channel (C,), and of how many values they are, over all ranks."""
    channels, kept = x.shape[1], torch.promote_types(x.dtype, torch.float32)  # of bfloat16 they would be rounded to it
    sums = torch.zeros(1 + 2 * channels, dtype=torch.float64)
    if x.numel():
        own = torch.batch_norm_update_stats(x.to(kept), None, None, 0.0)
        own_mean, own_variance = (values.double() for values in own)
        n = x.numel() // channels
        sums[0] = n
        sums[1:] = n * torch.cat([own_mean, own_variance + own_mean.square()])
    sums = ranks.sum(sums)
    mean, squares = (sums[1:] / sums[0]).split(channels)
    return mean.to(kept), (squares - mean.square()).clamp_min(0).to(kept), round(sums[0].item())


class _Normalized(torch.autograd.Function):
    """(x - mean) / sqrt(variance + eps) * weight + bias, where mean and variance depend on all ranks' x: so does the
    gradient of each x depend on all ranks' gradients of the output. Those of weight and bias are of the rank's own
    share."""

    @staticmethod
    def forward(
        ctx: FunctionCtx,
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
        if not x.numel():  # for which PyTorch's kernels divide by zero
            return torch.empty_like(x)
        return nn.functional.batch_norm(x, mean, variance, weight, bias, eps=eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight, mean, variance = ctx.saved_tensors
        to_x, to_weight, to_bias = torch.empty_like(x), torch.zeros_like(mean), torch.zeros_like(mean)
        if x.numel():  # as if mean and variance were given
            to_x, to_weight, to_bias = torch.ops.aten.native_batch_norm_backward(
                gradient, x, weight, mean, variance, None, None, False, ctx.eps, [True, True, True]
            )
        of_weight, of_bias = ctx.ranks.sum(torch.stack([to_weight, to_bias])) / ctx.count
        # With z = (x - mean) / deviation: dL/dx = weight / deviation * (dL/dy - mean(dL/dy) - z * mean(z * dL/dy)).
        if x.numel():
            factor = -(variance + ctx.eps).rsqrt() * (1 if weight is None else weight)
            to_x += nn.functional.batch_norm(x, mean, variance, factor * of_weight, factor * of_bias, eps=ctx.eps)
        return to_x, *((None, None) if weight is None else (to_weight, to_bias)), None, None, None, None, None
