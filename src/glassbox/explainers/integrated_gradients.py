"""Integrated Gradients: gradients summed along the straight path from a baseline to the image."""

import numpy as np
import torch

from glassbox import config
from glassbox.data.batches import to_float
from glassbox.explainers.base import Attribution, Budget, Common, Request, in_batches
from glassbox.models import Classifier


def make(c: Common) -> "IntegratedGradients":
    """The explainer of a study."""
    return IntegratedGradients(c.settings.integrated_gradients, c.mean, c.batch_size)


class IntegratedGradients:
    """Integrated Gradients (Sundararajan, Taly & Yan 2017, equation 1), computed by the library captum.

    A map holds, at each pixel, the sum over channels of (x - x') times the mean gradient of the target's logit between
    the baseline x' and x. Unit: logit. Detail `completeness_error`: |sum of the map - (f(x) - f(x'))|, which goes to
    zero with the number of steps.

    Args:
        settings: steps and baseline: black, or the training images' mean colour.
        mean: that colour, 0..1 a channel.
        batch_size: images in one pass.
    """

    looks_at = "gradient"

    def __init__(self, settings: config.IntegratedGradients, mean: tuple[float, ...], batch_size: int) -> None:
        import captum.attr  # noqa: F401 (seconds, which belong to no image)

        self.settings, self.batch_size = settings, batch_size
        colour = (0.0, 0.0, 0.0) if settings.baseline == "black" else mean
        self.colour = torch.tensor(colour, dtype=torch.float32).view(1, 3, 1, 1)

    def budget(self, _: int) -> Budget:
        return Budget(self.settings.steps + 2, self.settings.steps)  # the two ends tell the completeness

    def __call__(self, classifier: Classifier, request: Request) -> Attribution:
        return in_batches(self._explain, classifier, request, self.batch_size)

    def _explain(
        self, classifier: Classifier, images: torch.Tensor, targets: torch.Tensor
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        from captum.attr import IntegratedGradients as Captum

        x = to_float(images)
        baseline = self.colour.to(x.device).expand_as(x)
        values, delta = Captum(classifier).attribute(
            x, baseline, target=targets, n_steps=self.settings.steps, internal_batch_size=max(self.batch_size, len(x)),
            return_convergence_delta=True,
        )  # fmt: skip
        return values.sum(dim=1).detach().cpu().numpy(), {"completeness_error": delta.abs().double().cpu().numpy()}
