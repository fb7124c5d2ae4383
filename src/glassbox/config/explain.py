"""The section `explain`: which images, by which explainers, with which settings of each."""

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from glassbox.config.section import Section, rule
from glassbox.config.types import LARGEST, MOST, Count, Positive, Precision, each_once, files_of, list_of, rising
from glassbox.config.yaml_file import PARAMS_FILE
from glassbox.core.errors import UserError

if TYPE_CHECKING:
    from glassbox.config.data import Data

# Each explainer has a file of its own, beside these.
SHARED = ("base", "captions", "catalog", "controls", "factory", "running", "shapley", "superpixels")
ExplainerName = Literal[*files_of("explainers", *SHARED)]
LimeSamples = Annotated[int, Field(ge=50, le=MOST)]

MOST_REGIONS = 1.5  # for each requested segment: Shapley values need two coalitions for each


class Superpixels(Section):
    segments: Annotated[int, Field(ge=8, le=4096)]
    compactness: Annotated[float, Field(gt=0, le=1e6)]
    sigma: Annotated[float, Field(ge=0, le=LARGEST)]


def slic_regions(segments: int, side: int) -> int:
    """Number of regions that SLIC begins with, and about ends with in an image of one colour: a regular grid with a
    whole number of pixels as its step (scikit-image's `regular_grid`)."""
    step = side / math.sqrt(segments)
    return len(range(int(step // 2), side, max(1, round(step)))) ** 2


class LimeStability(Section):
    images: Count
    samples: Annotated[list_of(LimeSamples), AfterValidator(rising)]
    seeds: Annotated[int, Field(ge=2, le=MOST)]


class Lime(Section):
    samples: LimeSamples
    regions: Positive
    stability: LimeStability


class KernelShap(Section):
    coalitions: Annotated[int, Field(ge=32, le=8192)]  # whose pairs make a matrix that is inverted
    tolerance: Annotated[float, Field(gt=0, le=1)] | None
    background: Positive
    draw_background: bool
    classes: Count

    def draws(self, images: int) -> bool:
        """Whether a pair of coalitions is evaluated with one of so many background images: there must be several."""
        return self.draw_background and images > 1

    def evaluations(self, images: int) -> int:
        """Most evaluations of coalitions with so many background images."""
        return self.coalitions * (1 if self.draws(images) else images)


class PartitionShap(Section):
    evaluations: Annotated[int, Field(ge=4, le=MOST)]


class GradientShap(Section):
    samples: Positive
    background: Positive


class IntegratedGradients(Section):
    steps: Annotated[int, Field(ge=2, le=MOST)]
    baseline: Literal["black", "mean"]


class GradCam(Section):
    relu: bool


class Occlusion(Section):
    window: Positive
    stride: Positive

    @model_validator(mode="after")
    def _no_gaps(self) -> "Occlusion":
        if self.stride > self.window:
            raise ValueError(
                f"stride is {self.stride}: it must not be above window, {self.window}, or pixels would never be covered"
            )
        return self


class Rise(Section):
    masks: Annotated[int, Field(ge=2, le=MOST)]  # whose covariance with the probability is estimated
    cells: Positive
    probability: Annotated[float, Field(gt=0, lt=1)]


class Faithfulness(Section):
    steps: Annotated[int, Field(ge=2, le=MOST)]
    blur_sigma: Annotated[float, Field(gt=0, le=LARGEST)]


class Analyses(Section):
    hidden: Annotated[float, Field(gt=0, lt=1)]
    random_draws: Positive


class Explain(Section):
    images: Annotated[tuple[Count, ...], Field(strict=False), AfterValidator(each_once)]
    correct_per_class: Count
    mistakes: Count
    pairs: Count
    images_per_pair: Positive
    figures: Positive | None
    explainers: Annotated[list_of(ExplainerName), AfterValidator(each_once)]
    precision: Precision
    superpixels: Superpixels
    lime: Lime
    kernel_shap: KernelShap
    partition_shap: PartitionShap
    gradient_shap: GradientShap
    integrated_gradients: IntegratedGradients
    grad_cam: GradCam
    occlusion: Occlusion
    rise: Rise
    faithfulness: Faithfulness
    analyses: Analyses

    @model_validator(mode="after")
    def _it_can_be_done(self) -> "Explain":
        if len(self.images) + self.correct_per_class + self.mistakes + self.pairs == 0:
            raise ValueError(
                "correct_per_class, mistakes and pairs must not all be 0 and images empty: there would be nothing to "
                "explain"
            )
        fewest = 3 * self.superpixels.segments  # SLIC may find somewhat more regions than requested
        if "kernel_shap" in self.explainers and self.kernel_shap.coalitions < fewest:
            raise ValueError(
                f"kernel_shap.coalitions is {self.kernel_shap.coalitions}: it must be at least three times "
                f"superpixels.segments, {fewest}"
            )
        fewest += 1 + self.kernel_shap.background
        if self.kernel_shap.draws(self.kernel_shap.background) and self.kernel_shap.coalitions < fewest:
            raise ValueError(
                f"kernel_shap.coalitions is {self.kernel_shap.coalitions}: with kernel_shap.draw_background = true it "
                f"must be above kernel_shap.background by three times superpixels.segments and 1, {fewest}"
            )
        return self

    @rule
    def _they_fit_the_images(self, data: "Data") -> None:
        segments, side = self.superpixels.segments, data.image_size
        if "occlusion" in self.explainers and self.occlusion.window >= side:
            raise ValueError(
                f"explain.occlusion.window is {self.occlusion.window}: with data.image_size = {side} it must be below "
                f"{side}, or one square would cover the whole image"
            )
        if "rise" in self.explainers and self.rise.cells > side:
            raise ValueError(
                f"explain.rise.cells is {self.rise.cells}: with data.image_size = {side} it must not be above {side}, "
                "or cells would be smaller than pixels"
            )
        if segments > side * side:
            raise ValueError(
                f"explain.superpixels.segments is {segments}: with data.image_size = {side} it must not be above "
                f"{side * side}, the number of pixels"
            )

        def fits(n: int) -> bool:
            return slic_regions(n, side) <= MOST_REGIONS * n

        if not fits(segments):
            more = next(n for n in range(segments, side * side + 1) if fits(n))
            fewer = next((n for n in range(segments, 7, -1) if fits(n)), None)
            raise ValueError(
                f"explain.superpixels.segments is {segments}, but with data.image_size = {side} SLIC makes "
                f"{slic_regions(segments, side)} regions of it, more than Shapley values have coalitions for: take "
                f"{f'{fewer} or ' if fewer else ''}{more}"
            )


def check_images(rows: Iterable[int], n: int) -> None:
    """Check that `explain.images` names some of the `n` test images.

    Raises:
        UserError: it does not.
    """
    for row in rows:
        if row >= n:
            raise UserError(f"{PARAMS_FILE}: explain.images names {row}, but must name test images, 0 to {n - 1}")
