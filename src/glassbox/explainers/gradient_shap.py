"""GradientSHAP: gradients averaged between the image and images of the training set."""

import numpy as np
import torch
from torch import nn

from glassbox import config
from glassbox.data.batches import to_float
from glassbox.explainers.base import Attribution, Budget, Common, Request, image_by_image
from glassbox.models import Classifier


def make(c: Common) -> "GradientShap":
    """The explainer of a study."""
    return GradientShap(c.settings.gradient_shap, c.background[: c.settings.gradient_shap.background], c.batch_size)


class GradientShap:
    """Expected gradients (Erion et al. 2021), computed by the library shap as GradientExplainer.

    A map holds, at each pixel, the sum over channels of the mean of (x - x') * gradient of the target's logit at
    random points between x and random background images x'. Unit: logit.

    Args:
        settings: samples an explanation.
        background: (B, H, W, 3) uint8 training images.
        batch_size: images in one pass.
    """

    looks_at = "gradient"

    def __init__(self, settings: config.GradientShap, background: torch.Tensor, batch_size: int) -> None:
        import shap  # noqa: F401 (seconds, which belong to no image)

        self.settings, self.background, self.batch_size = settings, background, batch_size

    def budget(self, _: int) -> Budget:
        n = self.settings.samples
        return Budget(n + len(self.background), n)  # shap asks for the background's own logits too

    def __call__(self, classifier: Classifier, request: Request) -> Attribution:
        return image_by_image(self._explain, classifier, request, at_once=False)

    def _explain(
        self, classifier: Classifier, image: torch.Tensor, targets: list[int], seed: int
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        import shap

        device = next(classifier.parameters()).device
        x, background = to_float(image[None].to(device)), to_float(self.background.to(device))
        maps = []
        state = np.random.get_state()  # noqa: NPY002 (shap seeds numpy's global state)
        try:
            for target in targets:
                # With one output to explain, shap neither ranks the classes nor explains the others.
                explainer = shap.GradientExplainer(
                    _OneLogit(classifier, target), background, batch_size=self.batch_size
                )
                values = explainer.shap_values(x, nsamples=self.settings.samples, rseed=seed)  # (1, 3, H, W, 1)
                maps.append(np.asarray(values).reshape(3, *image.shape[:2]).sum(axis=0))
        finally:
            np.random.set_state(state)  # noqa: NPY002
        return np.stack(maps), {}


class _OneLogit(nn.Module):
    """The logit of one class, (N, 1)."""

    def __init__(self, classifier: Classifier, target: int) -> None:
        super().__init__()
        self.classifier, self.target = classifier, target

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(x)[:, self.target, None]
