"""The section `score`: which explanations are measured, and the metrics' settings."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from glassbox.config.section import Section, rule
from glassbox.config.types import MOST, Above, Count, Positive, each_once, rising

if TYPE_CHECKING:
    from glassbox.config.data import Data
    from glassbox.config.explain import Explain


def settings_of(element: Any, least: int = 3) -> Any:
    # The first one ranks; with three or more, the others show whether the ranking depends on the choice.
    return Annotated[tuple[element, ...], Field(strict=False, min_length=least), AfterValidator(each_once)]


Baseline = Literal["mean", "blur", "black"]


class Correlation(Section):
    cells: Annotated[int, Field(ge=2, le=MOST)]
    shares: settings_of(Above)
    draws: Annotated[int, Field(ge=10, le=MOST)]


class Road(Section):
    shares: Annotated[settings_of(Above), AfterValidator(rising)]  # they have a lower and an upper half
    noise: Annotated[float, Field(ge=0, lt=1)]


class Robustness(Section):
    images: Positive
    draws: Positive
    # One value of each is enough: each further one costs as much as the first.
    noise: settings_of(Above, least=1)
    brightness: settings_of(Above, least=1)
    shift: settings_of(Positive, least=1)
    attack: settings_of(Above, least=1)
    attack_steps: Positive


class Randomization(Section):
    images: Positive
    steps: Positive
    bins: settings_of(Annotated[int, Field(ge=2, le=MOST)])


class Score(Section):
    images: Positive
    draw: Literal["random", "by_class"]
    matched_evaluations: Annotated[int, Field(ge=50, le=MOST)]
    steps: Annotated[int, Field(ge=2, le=MOST)]
    deletion: settings_of(Baseline)
    insertion: settings_of(Baseline)
    correlation: Correlation
    road: Road
    margins: settings_of(Count)
    robustness: Robustness
    randomization: Randomization

    @model_validator(mode="after")
    def _some_of_the_images(self) -> "Score":
        for section in ("robustness", "randomization"):
            n = getattr(self, section).images
            if n > self.images:
                raise ValueError(f"{section}.images is {n}: it must not be above images, {self.images}")
        return self

    @rule
    def _kernel_shap_has_enough_evaluations(self, explain: "Explain") -> None:
        fewest = 1 + 3 * explain.superpixels.segments
        if "kernel_shap" in explain.explainers and self.matched_evaluations < fewest:
            raise ValueError(
                f"score.matched_evaluations is {self.matched_evaluations}: with kernel_shap it must be at least 1 more "
                f"than three times explain.superpixels.segments, {fewest}"
            )

    @rule
    def _shifts_leave_something(self, data: "Data") -> None:
        widest = max(self.robustness.shift)
        if widest >= data.image_size:
            raise ValueError(
                f"score.robustness.shift has {widest}: with data.image_size = {data.image_size} it must be below "
                f"{data.image_size}, or nothing of the image would be left"
            )
