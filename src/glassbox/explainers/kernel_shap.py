"""KernelSHAP: Shapley values of regions, hidden regions taken from images of the training set."""

from collections.abc import Iterator

import numpy as np
import torch

from glassbox.config.explain import KernelShap as Settings
from glassbox.config.explain import Superpixels
from glassbox.config.types import Precision
from glassbox.core.errors import UserError
from glassbox.execution import compute
from glassbox.explainers import shapley
from glassbox.explainers.base import Attribution, Budget, Common, Request, image_by_image
from glassbox.explainers.superpixels import Composition, segment
from glassbox.models import Classifier, probabilities


def make(c: Common) -> "KernelShap":
    """The explainer of a study."""
    background = c.background[: c.settings.kernel_shap.background]
    return KernelShap(c.settings.kernel_shap, c.settings.superpixels, background, c.batch_size, c.settings.precision)


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
    error above `names.TOLERANCE` tells of a fault. `empty_class`, the most probable of all classes with every region
    hidden, as its place among the classes, and `empty_probability`, how probable it is then: with nothing of the image
    to see, a network still answers. A class whose probability does not vary over the coalitions by more than float32's
    rounding (`compute.varies`) has a map of zeros.

    Args:
        settings: coalitions an explanation at most, and the standard error that is small enough to stop earlier, of
            all explained classes of an image.
        superpixels: regions.
        background: (B, H, W, 3) uint8 training images.
        batch_size: images in one forward pass.
        precision: of the network's products, but for the two coalitions that the values' sum is made from.

    Raises:
        UserError: fewer coalitions than twice the regions of an image.
    """

    looks_at = "regions"
    together = 1

    def __init__(
        self,
        settings: Settings,
        superpixels: Superpixels,
        background: torch.Tensor,
        batch_size: int,
        precision: Precision = "float32",
    ) -> None:
        self.settings, self.superpixels, self.batch_size = settings, superpixels, batch_size
        self.background, self.precision = background, precision

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

        answers: list[np.ndarray] = []  # (M, T) of each round of coalitions
        empty: list[np.ndarray] = []  # (K,) with every region hidden

        def ask(masks: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:  # (M, S) of bool -> (M, K)
            total = None
            with torch.inference_mode():
                for rows, images in self._images(segments, image, masks):
                    with compute.autocast(device, dtype):
                        p = classifier(images).double().softmax(dim=1)
                    total = p.new_zeros(len(masks), p.shape[1]) if total is None else total
                    total.index_add_(0, rows, p)
            return total / len(self.background)

        def value(masks: np.ndarray) -> np.ndarray:
            on, dtype = torch.from_numpy(masks).to(device), compute.number(self.precision, device)
            ends = on.all(dim=1) | ~on.any(dim=1)
            if dtype == torch.float32 or not ends.any():
                p = ask(on, dtype)
            else:
                last = ask(on[ends], torch.float32)
                p = last.new_empty(len(on), last.shape[1])
                p[ends], p[~ends] = last, ask(on[~ends], dtype)
            empty.extend(p[~on.any(dim=1)].cpu().numpy())
            answers.append(p[:, targets].cpu().numpy())
            return answers[-1]

        how = self.settings
        found = shapley.estimate(value, regions, how.coalitions, seed, how.tolerance)
        found.values[~compute.varies(np.concatenate(answers), torch.float32)] = 0  # else the noise of rounding
        p = probabilities(classifier, image[None], 1)[0, targets].numpy()
        details = {
            "base_value": found.empty,
            "additivity_error": np.abs(found.values.sum(axis=1) - (p - found.empty)),
            "standard_error": found.standard_errors.max(axis=1),
            "evidence_for": found.values.clip(min=0).sum(axis=1),
            "evidence_against": found.values.clip(max=0).sum(axis=1),
            "empty_class": np.full(len(targets), empty[0].argmax()),
            "empty_probability": np.full(len(targets), empty[0].max()),
        }
        return found.values[:, segments], details

    def _images(
        self, segments: np.ndarray, image: torch.Tensor, masks: torch.Tensor
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Full batches of images (P, 3, H, W), every mask before every background image, and each one's row in the
        masks (P,)."""
        m, made_for = len(masks), None
        for pairs in torch.arange(m * len(self.background)).split(self.batch_size):
            parts = []
            for number in range(int(pairs[0]) // m, int(pairs[-1]) // m + 1):
                if number != made_for:
                    compose, made_for = Composition(segments, image, self.background[number], masks.device), number
                parts.append(compose(masks[(pairs[pairs // m == number] % m).to(masks.device)]))
            yield (pairs % m).to(masks.device), parts[0] if len(parts) == 1 else torch.cat(parts)
