"""The section `augment`: how images are changed at random."""

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from glassbox.config.section import Section, rule
from glassbox.config.types import Strength, Tuned

if TYPE_CHECKING:
    from glassbox.config.model import Model


class Augment(Section):
    flip: bool | Tuned
    crop: Annotated[int, Field(ge=0, le=64)] | Tuned
    brightness: Strength | Tuned
    contrast: Strength | Tuned
    saturation: Strength | Tuned
    resize_first: bool | Tuned
    validation_and_test: bool

    @rule
    def _there_is_a_size_to_resize_to(self, model: "Model") -> None:
        if self.resize_first is True and model.input_size is None:
            raise ValueError("augment.resize_first is true: model.input_size must then be a number, not null")
