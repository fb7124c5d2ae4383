"""The section `audit`: the search for shortcuts."""

from typing import Annotated

from pydantic import AfterValidator

from glassbox.config.explain import ExplainerName
from glassbox.config.section import Section
from glassbox.config.types import MOST, each_once, list_of

FEWEST = 20  # images of a class: two groups of ten


def _none_or_enough(value: int) -> int:
    if value != 0 and not FEWEST <= value <= MOST:
        raise ValueError(f"must be 0, or {FEWEST} to {MOST}")
    return value


class Audit(Section):
    images: Annotated[int, AfterValidator(_none_or_enough)]
    explainers: Annotated[list_of(ExplainerName), AfterValidator(each_once)]
