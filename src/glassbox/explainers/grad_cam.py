"""Grad-CAM: where the last convolution's features speak for the class."""

from dataclasses import dataclass

import torch
from torch.nn import functional

from glassbox.config.explain import GradCam as Settings
from glassbox.data.batches import to_float
from glassbox.explainers.base import Attribution, Budget, MapsAndDetails, Request, Setup, gradients_end_at, in_batches
from glassbox.models import Classifier


def make(setup: Setup) -> "GradCam":
    """The explainer of a study."""
    return GradCam(setup.settings.grad_cam, setup.batch_size)


@dataclass
class GradCam:
    """Grad-CAM (Selvaraju et al. 2017, equations 1 and 2).

    A map is the weighted sum of the feature maps of one layer, the weights being the spatial means of the gradient of
    the target's logit, divided by the study's temperature; enlarged bilinearly to the image. The layer is that of
    `Classifier.grad_cam_layer`: it runs once, all paths from the image to the output pass it, and it is the last one
    with more than one place, so that the sum leaves nothing of the decision out; see
    `models.feature_maps.last_feature_maps`. In a transformer the features are tokens, put back on their grid.
    With `relu` only what is positive is kept, as in the paper: then a map of zeros is possible and means that the sum
    is at or below 0 at every place.
    """

    settings: Settings
    batch_size: int

    looks_at = "features"
    together = 16

    def budget(self, _: int) -> Budget:
        return Budget(1, 1)

    def __call__(self, classifier: Classifier, request: Request) -> Attribution:
        return in_batches(self._explain, classifier, request, self.batch_size)

    def _explain(self, classifier: Classifier, images: torch.Tensor, targets: torch.Tensor) -> MapsAndDetails:
        x = to_float(images)
        with gradients_end_at(classifier.grad_cam_layer(x.shape[-1]), in_place=True) as outputs:
            logits = classifier(x)
        (features,) = outputs  # the layer runs once
        (gradient,) = torch.autograd.grad(logits.gather(1, targets[:, None]).sum(), features)
        features, gradient = classifier.feature_maps(features), classifier.feature_maps(gradient)  # (B, C, h, w)
        weights = gradient.mean(dim=(2, 3), keepdim=True)  # (B, C, 1, 1)
        coarse = (weights * features.detach()).sum(dim=1, keepdim=True)  # (B, 1, h, w)
        if self.settings.relu:
            coarse = coarse.relu()
        fine = functional.interpolate(coarse, x.shape[2:], mode="bilinear")  # (B, 1, H, W)
        return fine[:, 0].cpu().numpy(), {}
