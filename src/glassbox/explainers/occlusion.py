"""Occlusion: how much of the probability goes when a square of the image is covered."""

import math

import torch

from glassbox.config.explain import Occlusion as Settings
from glassbox.data.batches import to_float
from glassbox.explainers.base import Attribution, Budget, MapsAndDetails, Request, Setup, in_batches
from glassbox.models import Classifier


def make(setup: Setup) -> "Occlusion":
    """The explainer of a study."""
    return Occlusion(setup.settings.occlusion, setup.mean, setup.batch_size)


def forward_passes(window: int, stride: int, side: int) -> int:
    """Images that go through the model for a map of an image of `side` x `side` pixels: one a square, and the image."""
    window, stride = min(window, side), min(stride, side)
    return 1 + (1 + math.ceil((side - window) / stride)) ** 2


class Occlusion:
    """Occlusion (Zeiler & Fergus 2014, section 4.2), computed by the library captum.

    A map holds, at each pixel, the fall of the target's probability when a square over it takes the training images'
    `mean` colour (0..1 a channel), averaged over the squares that cover the pixel. Unit: probability.
    """

    looks_at = "regions"
    together = 16

    def __init__(self, settings: Settings, mean: tuple[float, ...], batch_size: int) -> None:
        import captum.attr  # noqa: F401 (seconds, which belong to no image)

        self.settings, self.batch_size = settings, batch_size
        self.colour = torch.tensor(mean, dtype=torch.float32).view(1, 3, 1, 1)

    def budget(self, side: int) -> Budget:
        return Budget(forward_passes(self.settings.window, self.settings.stride, side))

    def __call__(self, classifier: Classifier, request: Request) -> Attribution:
        return in_batches(self._explain, classifier, request, self.batch_size)

    @torch.inference_mode()
    def _explain(self, classifier: Classifier, images: torch.Tensor, targets: torch.Tensor) -> MapsAndDetails:
        from captum.attr import Occlusion as Captum

        x = to_float(images)
        window, step = (min(value, x.shape[2]) for value in (self.settings.window, self.settings.stride))
        values = Captum(lambda batch: classifier(batch).double().softmax(dim=1)).attribute(
            x,
            (3, window, window),
            (3, step, step),
            baselines=self.colour.to(x.device).expand_as(x),
            target=targets,
            perturbations_per_eval=max(1, self.batch_size // len(x)),
        )
        return values[:, 0].cpu().numpy(), {}  # the square covers all channels: each holds the same
