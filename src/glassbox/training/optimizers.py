"""Optimizers with weight penalties, as in Keras where PyTorch's would change results."""

import math
from collections.abc import Iterable
from typing import Any

import torch

from glassbox.config.train import Train
from glassbox.models import Classifier

KERAS_EPSILON = 1e-7  # of Adam and RMSprop; PyTorch's own default is 1e-8


class Adam(torch.optim.Adam):
    """Keras's Adam: epsilon is added before the average of squares is corrected for its start at zero, in PyTorch after
    it. In PyTorch's terms epsilon is 32 times as large in the first step, and shrinks."""

    def step(self) -> None:
        for group in self.param_groups:
            group["steps"] = group.get("steps", 0) + 1
            group["eps"] = KERAS_EPSILON / math.sqrt(1 - group["betas"][1] ** group["steps"])
        super().step()


class RMSprop(torch.optim.Optimizer):
    """Keras's RMSprop: w -= rate * g / sqrt(average of g^2 + epsilon).

    PyTorch adds its epsilon outside of the root: with the same 1e-7 its steps for small gradients are much longer, 290
    times for a constant one of 1e-6. `alpha` is Keras's rho, the share that the average keeps at each step; a group's
    `weight_decay` adds weight_decay * w to the gradient.
    """

    def __init__(self, params: Iterable[dict[str, Any]], lr: float, alpha: float, eps: float) -> None:
        super().__init__(params, {"lr": lr, "alpha": alpha, "eps": eps, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            weights = [p for p in group["params"] if p.grad is not None]
            if not weights:
                continue
            for weight in weights:
                if not self.state[weight]:
                    self.state[weight]["square_avg"] = torch.zeros_like(weight)
            squares = [self.state[weight]["square_avg"] for weight in weights]
            gradients = torch._foreach_add([w.grad for w in weights], weights, alpha=group["weight_decay"])
            torch._foreach_mul_(squares, group["alpha"])
            torch._foreach_addcmul_(squares, gradients, gradients, value=1 - group["alpha"])
            roots = torch._foreach_sqrt(torch._foreach_add(squares, group["eps"]))
            torch._foreach_addcdiv_(weights, gradients, roots, value=-group["lr"])


def make_optimizer(classifier: Classifier, settings: Train) -> torch.optim.Optimizer:
    """The optimizer of the section `train`, with the network's weight penalties, and weight decay.

    Keras adds lambda * sum(w^2) to the loss, with gradient 2 * lambda * w; PyTorch's coupled weight decay adds
    weight_decay * w to the gradient: hence weight_decay = 2 * lambda, on the penalised kernels only.
    `train.weight_decay` is added for every parameter, biases and batch norm's included, as PyTorch's optimizers do;
    without `train.decay_biases` only for those with two axes or more, as in timm. With AdamW (Loshchilov & Hutter 2019)
    both shrink the weights directly, by their sum times the learning rate a step.

    Biases, parameters of that name, learn `train.bias_rate` times as fast as all else, and decay at the same pace (Page
    2018, How to Train Your ResNet).
    """
    rate = settings.learning_rate * settings.batch_size / (settings.base_batch_size or settings.batch_size)
    penalties = penalties_of(classifier)
    penalised = {id(kernel) for kernel, _ in penalties}
    groups = [
        {"params": [kernel], "lr": rate, "weight_decay": 2 * penalty + settings.weight_decay}
        for kernel, penalty in penalties
    ]
    # By rate and decay; first the group whose rate is that of train.learning_rate.
    alike: dict[tuple[float, float], list[torch.nn.Parameter]] = {(rate, settings.weight_decay): []}
    for name, weight in classifier.named_parameters():
        if id(weight) in penalised:
            continue
        faster = settings.bias_rate if name.endswith(".bias") else 1.0
        decay = settings.weight_decay if weight.ndim > 1 or settings.decay_biases else 0.0
        alike.setdefault((rate * faster, decay / faster), []).append(weight)
    groups += [
        {"params": weights, "lr": lr, "weight_decay": decay} for (lr, decay), weights in alike.items() if weights
    ]
    if settings.optimizer == "adam":
        return Adam(groups, lr=rate, fused=True)  # one kernel, on the CPU as well
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=rate, fused=True)
    if settings.optimizer == "sgd":
        options = {"momentum": settings.momentum, "nesterov": settings.nesterov}
        sgd = torch.optim.SGD(groups, lr=rate, fused=True, **options)
        if settings.momentum:
            # In one kernel all weights of a group have a velocity or none has, but the head may begin to learn before.
            for weight in (weight for group in groups for weight in group["params"]):
                sgd.state[weight]["momentum_buffer"] = torch.zeros_like(weight)
        return sgd
    assert settings.optimizer == "rmsprop"
    return RMSprop(groups, lr=rate, alpha=settings.rho, eps=KERAS_EPSILON)


@torch.no_grad()
def weight_penalty(classifier: Classifier) -> float:
    """Sum of lambda * sum(w^2) over the penalised kernels, which Keras adds to every loss that it reports."""
    return sum((penalty * kernel.square().sum().item() for kernel, penalty in penalties_of(classifier)), 0.0)


def penalties_of(classifier: Classifier) -> tuple[tuple[torch.nn.Parameter, float], ...]:
    """(kernel, lambda) of every penalty lambda * sum(w^2) that a network has of its own."""
    own = getattr(classifier.network, "penalties", None)
    return own() if own else ()
