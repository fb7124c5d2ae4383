"""LIME: a linear model of the classifier around one image, fitted to images with regions hidden."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from glassbox.config.explain import Superpixels
from glassbox.config.types import Precision
from glassbox.execution import compute
from glassbox.explainers.base import Attribution, Budget, Common, Request, image_by_image
from glassbox.explainers.superpixels import Composition, segment
from glassbox.models import Classifier, probabilities


def make(c: Common) -> "Lime":
    """The explainer of a study."""
    return Lime(c.settings.lime.samples, c.settings.superpixels, c.batch_size, c.settings.precision)


class Lime:
    """Local Interpretable Model-agnostic Explanations (Ribeiro, Singh & Guestrin 2016), computed by the library lime.

    A map holds, at each pixel, the weight of its region in the ridge regression of the target's probability on which
    regions are visible; hidden regions take their mean colour. Unit: probability. Detail `local_r2`: how much of the
    probability's variance the linear model explains near the image, at most 1. Where the probability does not vary by
    more than rounding (`compute.varies`), as on an image of one colour, nothing can be explained: `local_r2` is NaN
    and the map is zero.

    Args:
        samples: perturbed images an explanation.
        superpixels: regions.
        batch_size: images in one forward pass.
        precision: of the network's products.
    """

    looks_at = "regions"
    together = 1

    def __init__(
        self, samples: int, superpixels: Superpixels, batch_size: int, precision: Precision = "float32"
    ) -> None:
        from lime import lime_image  # noqa: F401 (seconds, which belong to no image)

        self.samples, self.superpixels, self.batch_size, self.precision = samples, superpixels, batch_size, precision

    def budget(self, _: int) -> Budget:
        return Budget(self.samples)

    def __call__(self, classifier: Classifier, request: Request) -> Attribution:
        return image_by_image(self._explain, classifier, request, at_once=True)

    def _explain(
        self, classifier: Classifier, image: torch.Tensor, targets: list[int], seed: int
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        pixels = image.cpu().numpy()
        segments, device = segment(pixels, self.superpixels), next(classifier.parameters()).device

        varies = np.zeros(len(targets), bool)

        def ask(visible: np.ndarray, hidden: np.ndarray) -> np.ndarray:
            """Probabilities (M, K), by masks (M, S) of the regions and what takes the place of the others."""
            images = Composition(segments, image, torch.from_numpy(hidden), device)
            p = probabilities(
                classifier, torch.from_numpy(visible), self.batch_size, prepare=images, precision=self.precision
            )
            varies[:] = compute.varies(p.numpy()[:, targets], compute.number(self.precision, device))
            return p.numpy()

        # A fresh explainer for each image: its random state advances from call to call.
        explainer = _explainer(seed, ask)
        scores = _record_scores(explainer.base)
        from sklearn import config_context

        with config_context(assume_finite=True, skip_parameter_validation=True):  # masks and probabilities are
            explanation = explainer.explain_instance(
                pixels,
                None,
                labels=tuple(targets),
                top_labels=None,
                num_samples=self.samples,
                segmentation_fn=lambda _: segments,
                random_seed=seed,
            )
        weights = np.zeros((len(targets), segments.max() + 1))
        for place, target in enumerate(targets):
            for region, weight in explanation.local_exp[target]:
                weights[place, region] = weight
        weights[~varies] = 0  # else the noise of rounding
        r2 = np.array([scores[target] for target in targets])
        return weights[:, segments], {"local_r2": np.where(varies, r2, np.nan)}


def _record_scores(base: Any) -> dict[int, float]:
    """Keep the local R2 of every label: lime's explanation holds only the last one's."""
    scores: dict[int, float] = {}
    fit = base.explain_instance_with_data

    def recording(data: Any, labels: Any, distances: Any, label: int, *rest: Any, **options: Any) -> Any:
        result = fit(data, labels, distances, label, *rest, **options)
        scores[label] = float(result[2])
        return result

    base.explain_instance_with_data = recording
    return scores


def _explainer(seed: int, ask: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Any:
    """lime's explainer, with its perturbed images made on the network's device, a batch at a time: lime copies and
    masks each one in Python. Masks, surrogate and weights stay lime's own."""
    from lime.lime_image import LimeImageExplainer

    class BatchedLimeImageExplainer(LimeImageExplainer):
        def data_labels(
            self, _: np.ndarray, fudged_image: np.ndarray, segments: np.ndarray, __: None, num_samples: int, **___: Any
        ) -> tuple[np.ndarray, np.ndarray]:
            regions = np.unique(segments).shape[0]
            data = self.random_state.randint(0, 2, num_samples * regions).reshape((num_samples, regions))
            data[0, :] = 1
            return data, ask(data.astype(bool), fudged_image)

    # Of all features none is selected, for which lime would fit one more regression.
    return BatchedLimeImageExplainer(feature_selection="none", random_state=seed)
