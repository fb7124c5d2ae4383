"""The section `augment`: how images are changed at random."""

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from glassbox.config.section import Section, rule
from glassbox.config.types import Strength

if TYPE_CHECKING:
    from glassbox.config.model import Model


class Augment(Section):
    flip: bool
    crop: Annotated[int, Field(ge=0, le=64)]
    brightness: Strength
    contrast: Strength
    saturation: Strength
    resize_first: bool
    validation_and_test: bool

    @rule
    def _there_is_a_size_to_resize_to(self, model: "Model") -> None:
        if self.resize_first and model.input_size is None:
            raise ValueError("augment.resize_first is true: model.input_size must then be a number, not null")
