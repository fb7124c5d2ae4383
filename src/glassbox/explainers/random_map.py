"""The control: an explanation that knows nothing. What does not beat it explains nothing."""

import numpy as np
import torch

from glassbox.explainers.base import Attribution, Request, image_by_image
from glassbox.models import Classifier


class RandomMap:
    """Independent standard normal values at every pixel, seeded by image."""

    def __call__(self, classifier: Classifier, request: Request) -> Attribution:
        return image_by_image(self._explain, classifier, request, at_once=False)

    def _explain(
        self, _: Classifier, image: torch.Tensor, targets: list[int], seed: int
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        shape = tuple(image.shape[:2])
        return np.stack([np.random.default_rng([seed, target]).standard_normal(shape) for target in targets]), {}
