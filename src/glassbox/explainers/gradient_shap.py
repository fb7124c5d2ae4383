"""GradientSHAP: gradients averaged between the image and images of the training set."""

from dataclasses import dataclass

import numpy as np
import torch

from glassbox.config.explain import GradientShap as Settings
from glassbox.data.batches import to_float
from glassbox.explainers.base import Attribution, Budget, MapsAndDetails, Request, Setup, image_by_image
from glassbox.models import Classifier, device_of


def make(setup: Setup) -> "GradientShap":
    """The explainer of a study."""
    settings = setup.settings.gradient_shap
    return GradientShap(settings, setup.background[: settings.background], setup.batch_size)


@dataclass
class GradientShap:
    """Expected gradients (Erion et al. 2021, equation 3), which the library shap calls GradientExplainer.

    A map holds, at each pixel, the sum over channels of the mean of (x - x') * gradient of the target's logit at
    random points between x and random background images x'. Unit: logit, divided by the study's temperature. The
    points are those that shap draws for the same seed.
    """

    settings: Settings
    background: torch.Tensor  # (B, H, W, 3) uint8 training images
    batch_size: int

    looks_at = "gradient"
    together = 1

    def budget(self, _: int) -> Budget:
        return Budget(self.settings.samples, self.settings.samples)

    def __call__(self, classifier: Classifier, request: Request) -> Attribution:
        return image_by_image(self._explain, classifier, request, at_once=False)

    def _explain(self, classifier: Classifier, image: torch.Tensor, targets: list[int], seed: int) -> MapsAndDetails:
        device = device_of(classifier)
        x = to_float(image[None].to(device))  # (1, 3, H, W)
        draw = np.random.RandomState(seed)
        drawn = [(draw.randint(len(self.background)), draw.uniform()) for _ in range(self.settings.samples)]
        all_rows, all_shares = torch.tensor([row for row, _ in drawn]), torch.tensor([share for _, share in drawn])

        maps = torch.zeros(len(targets), *image.shape[:2], device=device)
        for rows, shares in zip(all_rows.split(self.batch_size), all_shares.split(self.batch_size), strict=True):
            background = to_float(self.background[rows].to(device))  # (s, 3, H, W)
            way = x - background
            points = (background + shares.to(device).view(-1, 1, 1, 1) * way).requires_grad_(True)
            logits = classifier(points).sum(dim=0)  # (K,)
            for place, target in enumerate(targets):
                (gradient,) = torch.autograd.grad(logits[target], points, retain_graph=place + 1 < len(targets))
                maps[place] += (way * gradient).sum(dim=(0, 1))
        return (maps / self.settings.samples).cpu().numpy(), {}
