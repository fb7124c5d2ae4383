"""The section `evaluate`: what is reported about the test images."""

from typing import Annotated

from pydantic import Field

from glassbox.config.section import Section
from glassbox.config.types import Positive


class Evaluate(Section):
    confidence: Annotated[float, Field(gt=0.5, lt=1)]
    calibration_bins: Annotated[int, Field(ge=2, le=100)]
    confused_pairs: Positive
    gallery: Positive
    mirror: bool
    target_accuracy: Annotated[float, Field(gt=0, lt=1)]
