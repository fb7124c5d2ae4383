"""The section `data`: which images, and how they become three splits."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from glassbox.config.messages import shown
from glassbox.config.section import Section, rule
from glassbox.config.types import LARGEST, MOST, Positive, each_once, files_of

SOURCES = files_of("data/sources")
SourceName = Literal[*SOURCES]
Conversion = Literal["16-bit", "cmyk", "animation"]  # of images that are refused otherwise


class Planted(Section):
    images: Annotated[int, Field(ge=10, le=MOST)]
    cell: Positive
    variant: Literal["linear", "xor"]
    background: Literal["white", "noise", *(name for name in SOURCES if name != "planted")]
    watermark: Literal["I", "O", "T", "S", "L"] | None
    mark: Literal["ring", "border", "cast", "brightness"]
    mark_share: Annotated[float, Field(gt=0, le=1)]


def _table_or_pattern(value: str) -> str:
    if value.lower().endswith(".csv"):
        return value
    try:
        groups = re.compile(value).groups
    except re.error as error:
        raise ValueError(f"as a regular expression it is wrong ({error}), and a table's name ends in .csv") from None
    if groups != 1:
        raise ValueError(f"a regular expression must have one group in parentheses, and it has {groups}")
    return value


def _value_of_a_class(text: str) -> str:
    name, _, value = text.rpartition(":")
    if not name or not re.fullmatch(r"[0-9]{1,9}", value):
        raise ValueError("must be CLASS:VALUE, like crack:2, with a whole number of at most 9 digits")
    return text


class Data(Section):
    source: SourceName
    path: Annotated[str, Field(min_length=1)] | None
    image_size: Annotated[int, Field(ge=8, le=LARGEST)]
    resize: Literal["crop", "pad", "stretch"]
    shorter_side: Annotated[int, Field(ge=8, le=LARGEST)] | None
    interpolation: Literal["bicubic", "bilinear"]
    bad_images: Literal["refuse", "skip"]
    convert: Annotated[tuple[Conversion, ...], Field(strict=False), AfterValidator(each_once)]
    masks: Annotated[str, Field(min_length=1)] | None
    mask_values: Annotated[tuple[Annotated[str, AfterValidator(_value_of_a_class)], ...], Field(strict=False)]
    test_fraction: Annotated[float, Field(gt=0, lt=1)]
    validation_fraction: Annotated[float, Field(gt=0, lt=1)]
    groups: Annotated[str, Field(min_length=1), AfterValidator(_table_or_pattern)] | None
    drop_duplicates: bool
    limit: Annotated[int, Field(ge=10, le=MOST)] | None
    planted: Planted | None = None  # only a study of planted glyphs has it

    def images_from(self) -> str:
        """The source of the pictures; for planted glyphs, the source of their backgrounds."""
        return self.planted.background if self.planted else self.source

    def value_of(self) -> dict[str, int]:
        """The values of `mask_values` by class name."""
        return {name: int(value) for name, _, value in (text.rpartition(":") for text in self.mask_values)}

    @rule
    def _planted_glyphs_are_described(self) -> None:
        if self.source == "planted" and self.planted is None:
            raise ValueError("data.planted is missing: data.source = planted needs it, see studies/planted.yaml")
        if self.source != "planted" and self.planted is not None:
            raise ValueError(f"data.planted is there: with data.source = {self.source} it must not be")
        if self.planted is not None and self.planted.variant != "linear" and self.planted.watermark:
            raise ValueError(
                f"data.planted.watermark is {self.planted.watermark!r}: with data.planted.variant = "
                f"{self.planted.variant} it must be null"
            )

    @rule
    def _the_crop_is_inside_the_resized_image(self) -> None:
        if self.shorter_side is None:
            return
        if self.resize != "crop":
            raise ValueError(
                f"data.shorter_side is {self.shorter_side}: with data.resize = {self.resize} it must be null; only a "
                "crop has one"
            )
        if self.shorter_side < self.image_size:
            raise ValueError(
                f"data.shorter_side is {self.shorter_side}: it must be at least data.image_size, {self.image_size}, "
                "or the crop would be larger than the image"
            )

    @rule
    def _the_source_has_such_images(self) -> None:
        if self.groups is not None and self.source != "image_folder":
            raise ValueError(
                f"data.groups is {shown(self.groups)}: with data.source = {self.source} it must be null; only images "
                "in files have names"
            )
        if self.masks is not None and self.source != "image_folder":
            raise ValueError(
                f"data.masks is {shown(self.masks)}: with data.source = {self.source} it must be null; only images in "
                "files have masks in files"
            )
        if self.mask_values and self.masks is None:
            raise ValueError("data.mask_values is not empty: with data.masks = null it must be []")
        if len(self.value_of()) < len(self.mask_values):
            raise ValueError("data.mask_values names a class twice: it must have one value")
        source, key = self.images_from(), "data.planted.background" if self.planted else "data.source"
        if source == "image_folder" and self.path is None:
            raise ValueError(f"data.path is null: with {key} = image_folder it must name the folder of the images")
        if source == "cifar10" and self.image_size != 32:
            raise ValueError(f"data.image_size is {self.image_size}: with {key} = cifar10 it must be 32")
