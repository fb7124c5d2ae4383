"""PartitionSHAP: Owen values of a tree of rectangles, from halves of the image down to pixels."""

import numpy as np
import torch

from glassbox.config.explain import PartitionShap as Settings
from glassbox.explainers.base import Attribution, Budget, MapsAndDetails, Request, Setup, image_by_image
from glassbox.models import Classifier, probabilities


def make(setup: Setup) -> "PartitionShap":
    """The explainer of a study."""
    return PartitionShap(setup.settings.partition_shap, setup.mean, setup.batch_size)


class PartitionShap:
    """Owen values (Owen 1977), computed by the library shap as PartitionExplainer with shap's image masker.

    The image is halved again and again; the evaluations go where the parts differ most, and what is left of a part's
    value is shared equally by its pixels, so that neighbours that cancel each other may both be left with nothing.
    Hidden pixels take the training images' `mean` colour. A map holds, at each pixel, the sum of its channels' values.
    Unit: probability. Details: `base_value`, the probability with every pixel hidden; `additivity_error`, |sum of the
    map - (f(x) - base value)|.
    """

    looks_at = "regions"
    together = 1

    def __init__(self, settings: Settings, mean: tuple[float, ...], batch_size: int) -> None:
        import shap  # noqa: F401 (seconds, which belong to no image)

        self.settings, self.batch_size = settings, batch_size
        self.colour = np.round(255 * np.array(mean)).astype(np.uint8)

    def budget(self, _: int) -> Budget:
        return Budget(self.settings.evaluations + 2)  # the two ends tell the additivity

    def __call__(self, classifier: Classifier, request: Request) -> Attribution:
        return image_by_image(self._explain, classifier, request, at_once=False)

    def _explain(self, classifier: Classifier, image: torch.Tensor, targets: list[int], _: int) -> MapsAndDetails:
        import shap

        pixels = image.cpu().numpy()
        masker = shap.maskers.Image(np.broadcast_to(self.colour, pixels.shape).copy(), pixels.shape)
        maps, bases, errors = [], [], []
        for target in targets:

            def probability(batch: np.ndarray, target: int = target) -> np.ndarray:
                x = torch.from_numpy(np.ascontiguousarray(batch))
                return probabilities(classifier, x, self.batch_size)[:, target].numpy()

            explain = shap.PartitionExplainer(probability, masker)
            explanation = explain(
                pixels[None],
                max_evals=self.settings.evaluations,
                batch_size=self.batch_size,
                silent=True,
                fixed_context=None,
            )
            values = np.asarray(explanation.values).reshape(pixels.shape).sum(axis=2)
            visible, hidden = probability(np.stack([pixels, np.broadcast_to(self.colour, pixels.shape)]))
            maps.append(values)
            bases.append(hidden)
            errors.append(abs(values.sum() - (visible - hidden)))
        return np.stack(maps), {"base_value": np.array(bases), "additivity_error": np.array(errors)}
