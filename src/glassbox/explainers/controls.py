"""Controls: maps that do not depend on the model. An explainer that is no better than they are explains nothing.

After Adebayo et al. 2018, Sanity Checks for Saliency Maps, and Rao, Böhle & Schiele 2022, Towards Better Understanding
Attribution Methods: edges, brightness and the middle of the image already look like explanations. All of them give the
same map for every class of an image; the random ones are drawn by the seed of the image and the class.
"""

from collections.abc import Callable

import numpy as np
import scipy
import torch

from glassbox.config.explain import Superpixels
from glassbox.explainers.base import Attribution, Budget, MapsAndDetails, Request, image_by_image
from glassbox.explainers.catalog import CONTROLS
from glassbox.explainers.superpixels import segment
from glassbox.models import Classifier

Draw = Callable[[np.ndarray, list[int]], np.ndarray]  # image (H, W, 3) uint8, [seed, target] -> (H, W)


class Control:
    """A map drawn from the image alone, by a function of the image (H, W, 3) uint8 and [seed, target]."""

    looks_at = "gradient"  # any would do: it ignores the model
    together = 1

    def __init__(self, draw: Draw) -> None:
        self.draw = draw

    def budget(self, _: int) -> Budget:
        return Budget(0)

    def __call__(self, classifier: Classifier, request: Request) -> Attribution:
        return image_by_image(self._explain, classifier, request, at_once=False)

    def _explain(self, _: Classifier, image: torch.Tensor, targets: list[int], seed: int) -> MapsAndDetails:
        pixels = image.cpu().numpy()
        return np.stack([self.draw(pixels, [seed, target]) for target in targets]), {}


def all_controls(superpixels: Superpixels, side: int) -> dict[str, Control]:
    """The controls of a scorecard, by the names in `catalog.CONTROLS`, for images of `side` x `side` pixels."""
    # A tenth of the side is about one cell of Grad-CAM.
    draws = (noise, smooth_noise(side / 10), region_noise(superpixels), edges, brightness, centre)
    return {name: Control(draw) for name, draw in zip(CONTROLS, draws, strict=True)}


def noise(image: np.ndarray, seed: list[int]) -> np.ndarray:
    """Independent standard normal values at every pixel."""
    return np.random.default_rng(seed).standard_normal(image.shape[:2])


def smooth_noise(sigma: float) -> Draw:
    """Such values after a Gaussian blur of standard deviation `sigma`, pixels: as smooth as Grad-CAM's maps."""
    return lambda image, seed: scipy.ndimage.gaussian_filter(noise(image, seed), sigma)


def region_noise(superpixels: Superpixels) -> Draw:
    """A standard normal value for each of the regions of LIME and Shapley values: as coarse as their maps."""

    def draw(image: np.ndarray, seed: list[int]) -> np.ndarray:
        segments = segment(image, superpixels)
        return np.random.default_rng(seed).standard_normal(segments.max() + 1)[segments]

    return draw


def edges(image: np.ndarray, _: list[int]) -> np.ndarray:
    """Strength of the edges (Sobel & Feldman 1968) of the mean of the channels."""
    from skimage.filters import sobel  # takes its time, and a study may have no need of it

    return sobel(_grey(image))


def brightness(image: np.ndarray, _: list[int]) -> np.ndarray:
    """|x|: the mean of the channels, 0..1."""
    return _grey(image)


def centre(image: np.ndarray, _: list[int]) -> np.ndarray:
    """A Gaussian in the middle, its standard deviation a quarter of each side."""
    h, w = image.shape[:2]
    y, x = np.ogrid[:h, :w]
    return np.exp(-(((y - (h - 1) / 2) / (h / 4)) ** 2 + ((x - (w - 1) / 2) / (w / 4)) ** 2) / 2)


def _grey(image: np.ndarray) -> np.ndarray:
    return image.astype(float).mean(axis=2) / 255
