"""The section `augment`: how images are changed at random."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from glassbox.config.section import Section, rule
from glassbox.config.types import TUNED, Strength, Tuned

if TYPE_CHECKING:
    from glassbox.config.data import Data
    from glassbox.config.model import Model


class Augment(Section):
    flip: bool | Literal["alternating"] | Tuned
    crop: Annotated[int, Field(ge=0, le=64)] | Tuned
    padding: Literal["black", "reflect"] | Tuned
    brightness: Strength | Tuned
    contrast: Strength | Tuned
    saturation: Strength | Tuned
    cutout: Annotated[int, Field(ge=0, le=512)] | Tuned
    resize_first: bool | Tuned
    validation_and_test: bool

    @rule
    def _an_image_is_reflected_once(self, data: "Data", model: "Model") -> None:
        side = model.input_size if self.resize_first is True else data.image_size
        if self.padding == "reflect" and side is not None and self.crop != TUNED and self.crop >= side:
            raise ValueError(
                f"augment.crop is {self.crop}: with augment.padding = reflect it must be below the images' side, {side}"
            )

    @rule
    def _there_is_a_size_to_resize_to(self, model: "Model") -> None:
        if self.resize_first is True and model.input_size is None:
            raise ValueError("augment.resize_first is true: model.input_size must then be a number, not null")
