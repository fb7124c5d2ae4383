"""KernelSHAP: Shapley values of regions, hidden regions taken from images of the training set."""

import numpy as np
import torch

from glassbox import config, shapley
from glassbox.data.batches import to_float
from glassbox.errors import UserError
from glassbox.explainers.base import Attribution, Budget, Common, Request, image_by_image
from glassbox.explainers.superpixels import segment
from glassbox.models import Classifier, probabilities


def make(c: Common) -> "KernelShap":
    """The explainer of a study."""
    return KernelShap(
        c.settings.kernel_shap, c.settings.superpixels, c.background[: c.settings.kernel_shap.background], c.batch_size
    )


class KernelShap:
    """Shapley values of superpixels (SHAP: Lundberg & Lee 2017), estimated from coalitions by `shapley.estimate`, with
    the model asked as KernelSHAP asks it.

    The value of a coalition of regions is the target's probability averaged over the background images, each laid
    where the regions outside the coalition are. A map holds, at each pixel, the Shapley value of its region; a
    region's value is not divided by its size, so that the regions' values, not the pixels', sum up. Unit:
    probability. Details: `base_value`, the mean probability with every region hidden; `evidence_for` and
    `evidence_against`, the sums of the positive and of the negative values; `standard_error`, the largest of a region's
    value, which tells whether there were coalitions enough; `additivity_error`, |sum of the regions' values -
    (f(x) - base value)|, where f(x) is what the model says of the image itself. The values are held to that sum, so an
    error above `names.TOLERANCE` tells of a fault.

    Args:
        settings: coalitions an explanation at most, and the standard error that is small enough to stop earlier, of
            all explained classes of an image.
        superpixels: regions.
        background: (B, H, W, 3) uint8 training images.
        batch_size: images in one forward pass.

    Raises:
        UserError: fewer coalitions than twice the regions of an image.
    """

    looks_at = "regions"

    def __init__(
        self, settings: config.KernelShap, superpixels: config.Superpixels, background: torch.Tensor, batch_size: int
    ) -> None:
        self.settings, self.superpixels, self.batch_size = settings, superpixels, batch_size
        self.background = background

    def budget(self, _: int) -> Budget:
        return Budget(1 + self.settings.coalitions * len(self.background))

    def __call__(self, classifier: Classifier, request: Request) -> Attribution:
        return image_by_image(self._explain, classifier, request, at_once=True)

    def _explain(
        self, classifier: Classifier, image: torch.Tensor, targets: list[int], seed: int
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        segments = segment(image.cpu().numpy(), self.superpixels)
        regions = int(segments.max()) + 1
        if self.settings.coalitions < 2 * regions:
            raise UserError(
                f"explain.kernel_shap.coalitions is {self.settings.coalitions}, but an image has {regions} regions: it "
                "must be at least twice their number, or lower explain.superpixels.segments"
            )
        device = next(classifier.parameters()).device
        where = torch.from_numpy(segments).to(device)
        x = to_float(image[None].to(device))  # (1, 3, H, W)
        background = to_float(self.background.to(device))  # (B, 3, H, W)

        def value(masks: np.ndarray) -> np.ndarray:  # (M, S) of bool -> (M, T)
            on = torch.from_numpy(masks).to(device)
            pairs = torch.arange(len(on) * len(background), device=device)  # each mask with each background image
            p = torch.empty(len(pairs), len(targets), dtype=torch.float64, device=device)
            with torch.inference_mode():
                for part in pairs.split(self.batch_size):
                    visible = on[part // len(background)][:, where]  # (P, H, W)
                    mixed = torch.where(visible[:, None], x, background[part % len(background)])  # (P, 3, H, W)
                    p[part] = classifier(mixed).double().softmax(dim=1)[:, targets]
            return p.view(len(on), -1, len(targets)).mean(dim=1).cpu().numpy()

        how = self.settings
        found = shapley.estimate(value, regions, how.coalitions, seed, how.tolerance)
        p = probabilities(classifier, image[None], 1)[0, targets].numpy()
        details = {
            "base_value": found.empty,
            "additivity_error": np.abs(found.values.sum(axis=1) - (p - found.empty)),
            "standard_error": found.standard_errors.max(axis=1),
            "evidence_for": found.values.clip(min=0).sum(axis=1),
            "evidence_against": found.values.clip(max=0).sum(axis=1),
        }
        return found.values[:, segments], details
