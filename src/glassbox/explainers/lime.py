"""LIME: a linear model of the classifier around one image, fitted to images with regions hidden."""

from dataclasses import dataclass

import numpy as np
import torch

from glassbox.config.explain import Superpixels
from glassbox.config.types import Precision
from glassbox.execution import compute
from glassbox.explainers.base import Attribution, Budget, MapsAndDetails, Request, Setup, image_by_image
from glassbox.explainers.superpixels import Composition, segment
from glassbox.models import Classifier, device_of, probabilities

KERNEL_WIDTH = 0.25  # lime's default for images


def make(setup: Setup) -> "Lime":
    """The explainer of a study."""
    return Lime(setup.settings.lime.samples, setup.settings.superpixels, setup.batch_size, setup.settings.precision)


@dataclass
class Lime:
    """Local Interpretable Model-agnostic Explanations (Ribeiro, Singh & Guestrin 2016). The regression is that of the
    library lime (`lime_base.LimeBase`). Its `LimeImageExplainer` copies and masks each perturbed image in Python; here
    they are made from the same random masks on the network's device.

    A map holds, at each pixel, the weight of its region in the ridge regression of the target's probability on which
    regions are visible; hidden regions take their mean colour. Unit: probability. Detail `local_r2`: how much of the
    probability's variance the linear model explains near the image, at most 1. Where the probability does not vary by
    more than rounding (`compute.varies`), as on an image of one colour, nothing can be explained: `local_r2` is NaN
    and the map is zero.
    """

    samples: int  # perturbed images an explanation
    superpixels: Superpixels
    batch_size: int
    precision: Precision = "float32"  # of the network's products

    looks_at = "regions"
    together = 1

    def __post_init__(self) -> None:
        from lime import lime_base  # noqa: F401 (takes seconds, which belong to no image)

    def budget(self, _: int) -> Budget:
        return Budget(self.samples)

    def __call__(self, classifier: Classifier, request: Request) -> Attribution:
        return image_by_image(self._explain, classifier, request, at_once=True)

    def _explain(self, classifier: Classifier, image: torch.Tensor, targets: list[int], seed: int) -> MapsAndDetails:
        from lime.lime_base import LimeBase
        from sklearn import config_context
        from sklearn.metrics import pairwise_distances

        pixels, device = image.cpu().numpy(), device_of(classifier)
        segments = segment(pixels, self.superpixels)
        n_regions = segments.max() + 1
        random = np.random.RandomState(seed)
        visible = random.randint(0, 2, self.samples * n_regions).reshape(self.samples, n_regions)
        visible[0] = 1  # the image itself
        images = Composition(segments, image, torch.from_numpy(_hidden(pixels, segments)), device)
        masks = torch.from_numpy(visible.astype(bool))
        p = probabilities(classifier, masks, self.batch_size, prepare=images, precision=self.precision).numpy()
        varies = compute.varies(p[:, targets], compute.number(self.precision, device))

        weights, r2 = np.zeros((len(targets), n_regions)), np.full(len(targets), np.nan)
        with config_context(assume_finite=True, skip_parameter_validation=True):  # masks and probabilities are valid
            distances = pairwise_distances(visible, visible[:1], metric="cosine").ravel()
            base = LimeBase(lambda d: np.sqrt(np.exp(-(d**2) / KERNEL_WIDTH**2)), random_state=random)
            for row in np.flatnonzero(varies):  # elsewhere weights would be the noise of rounding
                _, by_region, r2[row], _ = base.explain_instance_with_data(
                    visible, p, distances, targets[row], n_regions, feature_selection="none"
                )
                regions, values = zip(*by_region, strict=True)
                weights[row, regions] = values
        return weights[:, segments], {"local_r2": r2}


def _hidden(pixels: np.ndarray, segments: np.ndarray) -> np.ndarray:
    """Each region of an image (H, W, 3) uint8 in its mean colour, rounded down as lime does."""
    hidden = pixels.copy()
    for region in range(segments.max() + 1):
        hidden[segments == region] = pixels[segments == region].mean(axis=0)
    return hidden
