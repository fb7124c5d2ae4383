"""Shapley values of superpixels: how much of the probability each region adds, averaged over coalitions of regions."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from glassbox.config.explain import KernelShap as Settings
from glassbox.config.explain import Superpixels
from glassbox.config.types import Precision
from glassbox.core.errors import UserError
from glassbox.execution import compute
from glassbox.explainers import shapley
from glassbox.explainers.base import Attribution, Budget, MapsAndDetails, Request, Setup, image_by_image
from glassbox.explainers.superpixels import Composition, segment
from glassbox.models import Classifier, device_of, probabilities


def make(setup: Setup) -> "KernelShap":
    """The explainer of a study."""
    explain = setup.settings
    background = setup.background[: explain.kernel_shap.background]
    return KernelShap(explain.kernel_shap, explain.superpixels, background, setup.batch_size, explain.precision)


@dataclass
class KernelShap:
    """Shapley values of superpixels (SHAP: Lundberg & Lee 2017).

    The value of a coalition of regions is the target's probability averaged over the background images, each laid
    where the regions outside the coalition are, as in the published KernelSHAP. With `settings.draw_background` each
    pair of coalitions is evaluated with one background image, and only the coalition of no region with all: see
    `shapley.estimate_mean`. The number of evaluations then does not grow with the background. The estimate is not
    KernelSHAP's weighted linear regression, but a regression by a Gaussian process on pairs of coalitions and their
    complements, see `shapley.estimate`; docs/performance.md compares the errors.

    A map holds, at each pixel, the Shapley value of its region; a region's value is not divided by its size, so that
    the regions' values, not the pixels', sum up. Unit: probability. A class whose probability does not vary over the
    coalitions by more than float32's rounding (`compute.varies`) has a map of zeros. Details:

    - `base_value`: mean probability with every region hidden.
    - `evidence_for`, `evidence_against`: sums of the positive and of the negative values.
    - `standard_error`: the largest standard error among the regions' values, which shows whether there were enough
      coalitions.
    - `additivity_error`: |sum of the regions' values - (f(x) - base value)|, where f(x) is the probability of the image
      itself. The values are held to that sum, so an error above `catalog.TOLERANCE` reveals a fault.
    - `empty_class`, `empty_probability`: the most probable of all classes with every region hidden, by its number, and
      its probability.

    Raises:
        UserError: fewer coalitions than twice the regions of an image.
    """

    settings: Settings  # most coalitions, and the standard error of all classes that is small enough to stop earlier
    superpixels: Superpixels
    background: torch.Tensor  # (B, H, W, 3) uint8 training images
    batch_size: int
    precision: Precision = "float32"  # of the network's products; the two coalitions of the values' sum take float32

    looks_at = "regions"
    together = 1

    def budget(self, _: int) -> Budget:
        return Budget(1 + self.settings.evaluations(len(self.background)))

    def __call__(self, classifier: Classifier, request: Request) -> Attribution:
        return image_by_image(self._explain, classifier, request, at_once=True)

    def _explain(self, classifier: Classifier, image: torch.Tensor, targets: list[int], seed: int) -> MapsAndDetails:
        segments = segment(image.cpu().numpy(), self.superpixels)
        regions = int(segments.max()) + 1
        if self.settings.coalitions < 2 * regions:
            raise UserError(
                f"explain.kernel_shap.coalitions is {self.settings.coalitions}, but an image has {regions} regions: it "
                "must be at least twice their number, or lower explain.superpixels.segments"
            )
        others, fewest = len(self.background), len(self.background) + 1 + 2 * regions
        draws = self.settings.draws(others)
        if draws and self.settings.coalitions < fewest:
            raise UserError(
                f"explain.kernel_shap.coalitions is {self.settings.coalitions}, but an image has {regions} regions and "
                f"the background {others} images: with draw_background it must be at least {fewest}, or lower "
                "background"
            )
        device = device_of(classifier)
        reduced = compute.number(self.precision, device)
        answers: list[np.ndarray] = []  # (M, T) of each round of coalitions
        empty: list[np.ndarray] = []  # (K,) with every region hidden, of all background images or of each

        def value(coalitions: np.ndarray, fillings: np.ndarray | None = None) -> np.ndarray:
            masks = torch.from_numpy(coalitions).to(device)
            whole = masks.all(dim=1) | ~masks.any(dim=1) | (reduced == torch.float32)
            p = None
            for part, dtype in ((whole, torch.float32), (~whole, reduced)):
                if part.any():
                    numbers = None if fillings is None else torch.from_numpy(fillings)[part.cpu()]
                    found = self._mean_probabilities(classifier, segments, image, masks[part], numbers, dtype)
                    p = found.new_empty(len(masks), found.shape[1]) if p is None else p
                    p[part] = found
            empty.extend(p[~masks.any(dim=1)].cpu().numpy())
            answers.append(p[:, targets].cpu().numpy())
            return answers[-1]

        how = (regions, self.settings.coalitions, seed, self.settings.tolerance)
        estimate = shapley.estimate_mean(value, others, *how) if draws else shapley.estimate(value, *how)
        estimate.values[~compute.varies(np.concatenate(answers), torch.float32)] = 0  # else the noise of rounding
        p = probabilities(classifier, image[None], 1)[0, targets].numpy()
        nothing = np.mean(empty, axis=0)  # (K,)
        details = {
            "base_value": estimate.empty,
            "additivity_error": np.abs(estimate.values.sum(axis=1) - (p - estimate.empty)),
            "standard_error": estimate.standard_errors.max(axis=1),
            "evidence_for": estimate.values.clip(min=0).sum(axis=1),
            "evidence_against": estimate.values.clip(max=0).sum(axis=1),
            "empty_class": np.full(len(targets), nothing.argmax()),
            "empty_probability": np.full(len(targets), nothing.max()),
        }
        return estimate.values[:, segments], details

    @torch.inference_mode()
    def _mean_probabilities(
        self,
        classifier: Classifier,
        segments: np.ndarray,
        image: torch.Tensor,
        masks: torch.Tensor,
        fillings: torch.Tensor | None,
        dtype: torch.dtype,
    ) -> torch.Tensor:
        """Probabilities (M, K) of all classes for masks (M, S): with the background images of these numbers (M,), or
        averaged over all background images."""
        m, total = len(masks), None
        if fillings is None:
            rows = torch.arange(m * len(self.background))
            numbers, rows = rows // m, rows % m
        else:
            numbers, rows = fillings.sort(stable=True)
        for part, images in self._images(segments, image, masks, rows, numbers):
            with compute.autocast(masks.device, dtype):
                p = classifier(images).double().softmax(dim=1)
            total = p.new_zeros(m, p.shape[1]) if total is None else total
            total.index_add_(0, part.to(masks.device), p)
        return total / (len(rows) // m)

    def _images(
        self,
        segments: np.ndarray,
        image: torch.Tensor,
        masks: torch.Tensor,
        rows: torch.Tensor,
        numbers: torch.Tensor,
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Full batches of images (P, 3, H, W), of these rows of the masks (N,) with background images of these numbers
        (N,), which rise; and each batch's rows (P,)."""
        composed = -1
        for part in torch.arange(len(rows)).split(self.batch_size):
            parts = []
            for number in numbers[part].unique_consecutive().tolist():
                if number != composed:
                    compose, composed = Composition(segments, image, self.background[number], masks.device), number
                parts.append(compose(masks[rows[part][numbers[part] == number].to(masks.device)]))
            yield rows[part], torch.cat(parts)
