"""Integrated Gradients: gradients summed along the straight path from a baseline to the image."""

import numpy as np
import torch

from glassbox.config.explain import IntegratedGradients as Settings
from glassbox.data.batches import to_float
from glassbox.explainers.base import Attribution, Budget, MapsAndDetails, Request, Setup, gradients_end_at, in_batches
from glassbox.models import Classifier


def make(setup: Setup) -> "IntegratedGradients":
    """The explainer of a study."""
    return IntegratedGradients(setup.settings.integrated_gradients, setup.mean, setup.batch_size)


class IntegratedGradients:
    """Integrated Gradients (Sundararajan, Taly & Yan 2017, equation 1).

    A map holds, at each pixel, the sum over channels of (x - x') times the mean gradient of the target's logit between
    the baseline x' and x, by Gauss-Legendre quadrature. Unit: logit, divided by the study's temperature. Detail
    `completeness_error`: |sum of the map - (f(x) - f(x'))|, which goes to zero with the number of steps.
    The baseline is black, or the training images' `mean` colour, 0..1 a channel.
    """

    looks_at = "gradient"
    together = 16

    def __init__(self, settings: Settings, mean: tuple[float, ...], batch_size: int) -> None:
        self.settings, self.batch_size = settings, batch_size
        nodes, weights = np.polynomial.legendre.leggauss(settings.steps)  # of -1..1
        self.shares, self.weights = torch.from_numpy((1 + nodes) / 2).float(), (weights / 2).tolist()
        colour = (0.0, 0.0, 0.0) if settings.baseline == "black" else mean
        self.colour = torch.tensor(colour, dtype=torch.float32).view(1, 3, 1, 1)

    def budget(self, _: int) -> Budget:
        return Budget(self.settings.steps + 2, self.settings.steps)  # the two ends tell the completeness

    def __call__(self, classifier: Classifier, request: Request) -> Attribution:
        return in_batches(self._explain, classifier, request, self.batch_size)

    def _explain(self, classifier: Classifier, images: torch.Tensor, targets: torch.Tensor) -> MapsAndDetails:
        x = to_float(images)  # (B, 3, H, W)
        baseline, stem = self.colour.to(x.device), classifier.affine_stem()

        # Up to the stem the gradient is the same all along the path. So gradients are summed behind the stem, and their
        # sum goes back through it once.
        behind, weights = None, iter(self.weights)
        for shares in self.shares.to(x.device).split(max(1, self.batch_size // len(x))):
            points = torch.cat([baseline + share * (x - baseline) for share in shares])  # (s * B, 3, H, W)
            with gradients_end_at(stem) as outputs:
                logits = classifier(points).gather(1, targets.repeat(len(shares))[:, None])
            (gradients,) = torch.autograd.grad(logits.sum(), outputs)
            behind = torch.zeros_like(gradients[: len(x)]) if behind is None else behind  # (B, C, h, w)
            for gradient in gradients.split(len(x)):
                behind.add_(gradient, alpha=next(weights))

        x.requires_grad_(True)
        outputs = []
        handle = stem.register_forward_hook(lambda _, __, output: outputs.append(output))
        try:
            logits = classifier(x)
        finally:
            handle.remove()
        (gradient,) = torch.autograd.grad(outputs, x, behind)

        values = ((x - baseline) * gradient).sum(dim=1).detach()  # (B, H, W)
        with torch.no_grad():
            change = (logits - classifier(baseline.expand_as(x[:1]))).gather(1, targets[:, None])[:, 0]
        error = (values.sum(dim=(1, 2)) - change).abs()
        return values.cpu().numpy(), {"completeness_error": error.double().cpu().numpy()}
