"""Explainers by name. A new one is one file and one line in `make`."""

import torch

from glassbox.config import Explain
from glassbox.explainers.base import Attribution, Explainer, Request
from glassbox.explainers.controls import Control, noise
from glassbox.explainers.grad_cam import GradCam
from glassbox.explainers.gradient_shap import GradientShap
from glassbox.explainers.integrated_gradients import IntegratedGradients
from glassbox.explainers.kernel_shap import KernelShap
from glassbox.explainers.lime import Lime
from glassbox.explainers.occlusion import Occlusion
from glassbox.explainers.partition_shap import PartitionShap
from glassbox.names import CONTROL

__all__ = ["Attribution", "Explainer", "Request", "make"]


def make(settings: Explain, background: torch.Tensor, mean: tuple[float, ...], batch_size: int) -> dict[str, Explainer]:
    """The explainers that the section `explain` names, in its order, then the random control.

    Args:
        settings: the section.
        background: (B, H, W, 3) uint8 training images in random order; each explainer takes as many as it wants.
        mean: colour of the training images, 0..1 a channel.
        batch_size: images in one forward pass.
    """
    s = settings
    makers = {
        "lime": lambda: Lime(s.lime.samples, s.superpixels, batch_size),
        "kernel_shap": lambda: KernelShap(
            s.kernel_shap, s.superpixels, background[: s.kernel_shap.background], batch_size
        ),
        "partition_shap": lambda: PartitionShap(s.partition_shap, mean, batch_size),
        "gradient_shap": lambda: GradientShap(s.gradient_shap, background[: s.gradient_shap.background], batch_size),
        "integrated_gradients": lambda: IntegratedGradients(s.integrated_gradients, mean, batch_size),
        "grad_cam": lambda: GradCam(s.grad_cam, batch_size),
        "occlusion": lambda: Occlusion(s.occlusion, mean, batch_size),
    }
    return {name: makers[name]() for name in s.explainers} | {CONTROL: Control(noise)}
