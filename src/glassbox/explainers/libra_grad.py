"""LibraGrad: image times gradient, with the gradients that attention, normalisation and gates distort put right."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from glassbox.data.batches import to_float
from glassbox.explainers.base import Attribution, Budget, MapsAndDetails, Request, Setup, in_batches
from glassbox.models import Classifier

SMALL = 1e-6  # below it a gate's argument is taken for this, so that nothing is divided by 0


def make(setup: Setup) -> "LibraGrad":
    """The explainer of a study."""
    return LibraGrad(setup.batch_size)


@dataclass
class LibraGrad:
    """LibraGrad (Mehri, Baghshah & Pilehvar 2025), on image times gradient; made for transformers.

    A map holds, at each pixel, the sum over channels of the normalised colour times the gradient of the target's logit
    by it. Unit: logit, divided by the study's temperature. Backward, the network is taken for the sum that it is
    forward: attention weights (softmax), the deviations by which layers are normalised, and the gates of GELU, SiLU,
    Hardswish and Mish count as constants. So a map and the shares of the biases add up to the logit, as in a network of
    ReLU. In a network without any of these the map is image times gradient.
    """

    batch_size: int

    looks_at = "gradient"
    together = 16

    def budget(self, _: int) -> Budget:
        return Budget(1, 1)

    def __call__(self, classifier: Classifier, request: Request) -> Attribution:
        return in_batches(self._explain, classifier, request, self.batch_size)

    def _explain(self, classifier: Classifier, images: torch.Tensor, targets: torch.Tensor) -> MapsAndDetails:
        x = to_float(images).requires_grad_(True)  # (B, 3, H, W)
        with Balanced():
            logits = classifier(x)
        (gradient,) = torch.autograd.grad(logits.gather(1, targets[:, None]).sum(), x)
        # (x - mean) * gradient by x is x_normalised * gradient by x_normalised.
        values = ((x.detach() - classifier.mean) * gradient).sum(dim=1)  # (B, H, W)
        return values.cpu().numpy(), {}


class Balanced(TorchFunctionMode):
    """Inside the block, functions of PyTorch give what they give outside, and other gradients, see `RULES`."""

    def __torch_function__(
        self, function: Callable, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        rule = RULES.get(function)
        return rule(function, *args, **kwargs or {}) if rule else function(*args, **kwargs or {})


def _constant(function: Callable, *args: Any, **kwargs: Any) -> torch.Tensor:
    return function(*args, **kwargs).detach()


def _attention(
    function: Callable, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *args: Any, **kwargs: Any
) -> torch.Tensor:
    return function(query.detach(), key.detach(), value, *args, **kwargs)


def _multi_head(
    function: Callable,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: torch.Tensor,
    in_proj_bias: torch.Tensor | None,
    bias_k: torch.Tensor | None,
    bias_v: torch.Tensor | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: torch.Tensor,
    out_proj_bias: torch.Tensor | None,
    **kwargs: Any,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """`nn.MultiheadAttention`'s function, whose tokens come as (T, N, C): its own weights, which are constants, times
    the values, which are not."""
    inputs = (query.detach(), key.detach(), value.detach(), embed_dim_to_check, num_heads, in_proj_weight, in_proj_bias)
    rest = (bias_k, bias_v, add_zero_attn, dropout_p, out_proj_weight, out_proj_bias)
    _, weights = function(*inputs, *rest, **kwargs | {"need_weights": True, "average_attn_weights": False})
    bias = None if in_proj_bias is None else in_proj_bias.chunk(3)[2]
    values = functional.linear(value, in_proj_weight.chunk(3)[2], bias)
    heads = values.unflatten(2, (num_heads, -1)).permute(1, 2, 0, 3)  # (N, heads, T, C / heads)
    mixed = (weights @ heads).permute(2, 0, 1, 3).flatten(2)  # (T, N, C)
    return functional.linear(mixed, out_proj_weight, out_proj_bias), None


def _layer_norm(
    _: Callable,
    x: torch.Tensor,
    normalized_shape: tuple[int, ...],
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    eps: float = 1e-5,
) -> torch.Tensor:
    axes = tuple(range(-len(normalized_shape), 0))
    centred = x - x.mean(axes, keepdim=True)
    y = centred * (centred.square().mean(axes, keepdim=True) + eps).rsqrt().detach()
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


def _gate(function: Callable, x: torch.Tensor, *_: bool, **kwargs: Any) -> torch.Tensor:
    """Not in place, whatever was asked for."""
    safe = torch.where(x.abs() < SMALL, SMALL, x).detach()
    return x * (function(safe, **kwargs | {"inplace": False} if "inplace" in kwargs else kwargs) / safe)


# By function of PyTorch, how it is computed inside `Balanced`.
RULES: dict[Callable, Callable] = {
    functional.softmax: _constant,
    torch.softmax: _constant,
    torch.Tensor.softmax: _constant,
    functional.scaled_dot_product_attention: _attention,
    functional.multi_head_attention_forward: _multi_head,
    functional.layer_norm: _layer_norm,
    functional.gelu: _gate,
    functional.silu: _gate,
    functional.hardswish: _gate,
    functional.mish: _gate,
}
