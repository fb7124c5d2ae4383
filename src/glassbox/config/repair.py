"""The section `repair`: which findings of the audit are mended, and how."""

import re
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, Field

from glassbox.config.section import Section, rule
from glassbox.config.types import LARGEST, MOST, NETWORK_FILES, Positive, each_once, list_of

if TYPE_CHECKING:
    from glassbox.config.audit import Audit
    from glassbox.config.data import Data
    from glassbox.config.model import Model

BOX = re.compile(r"\d{1,4},\d{1,4},\d{1,4},\d{1,4}")  # LEFT,TOP,WIDTH,HEIGHT in pixels
Way = Literal["randomise", "remove", "paste", "penalty", "last_layer"]


def _a_finding(value: int | str) -> int | str:
    name, _, what = str(value).rpartition(":")
    if not 1 <= value <= MOST if isinstance(value, int) else not (name and what.strip()):
        raise ValueError(
            "must be a number of a finding, 1 or more, CLASS:LEFT,TOP,WIDTH,HEIGHT in pixels, or CLASS:PROPERTY, like "
            "I:brightness"
        )
    return value


Finding = Annotated[int | str, AfterValidator(_a_finding)]


class Repair(Section):
    findings: Annotated[tuple[Finding, ...], Field(strict=False), AfterValidator(each_once)]
    ways: Annotated[list_of(Way), AfterValidator(each_once)]
    epochs: Positive
    repeats: Annotated[int, Field(ge=5, le=1000)]
    margin: Annotated[int, Field(ge=0, le=LARGEST)]
    penalty: Annotated[float, Field(gt=0, le=1e6)]

    @rule
    def _boxes_lie_in_the_image(self, data: "Data") -> None:
        for finding in self.findings:
            what = finding.rpartition(":")[2] if isinstance(finding, str) else ""
            if not BOX.fullmatch(what):
                continue
            left, top, width, height = (int(number) for number in what.split(","))
            if not width or not height or max(left + width, top + height) > data.image_size:
                raise ValueError(
                    f"repair.findings has {finding!r}: with data.image_size = {data.image_size} its "
                    f"LEFT,TOP,WIDTH,HEIGHT must lie in the image"
                )

    @rule
    def _numbers_are_of_an_audit(self, audit: "Audit") -> None:
        numbers = [finding for finding in self.findings if isinstance(finding, int)]
        if numbers and audit.images == 0:
            raise ValueError(
                f"repair.findings has {numbers[0]}: with audit.images = 0 there is no such finding; it must name "
                "regions or properties, like 'I:0,22,10,10' or 'I:brightness', or be []"
            )

    @rule
    def _the_network_can_learn(self, model: "Model") -> None:
        if self.findings and model.name in NETWORK_FILES:
            raise ValueError(
                f"repair.findings is not empty: with model.name = {model.name} it must be [], for the network in that "
                "file is taken as it is"
            )
