"""The section `model`: the network, and the images that it takes."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field, JsonValue, field_validator

from glassbox.config.messages import shown
from glassbox.config.section import Section, rule
from glassbox.config.space import ARGUMENTS, Searched, in_order
from glassbox.config.types import LARGEST, NETWORK_FILES, OWN_NETWORKS, TUNED, Tuned, each_once

if TYPE_CHECKING:
    from glassbox.config.data import Data

NAMES = (
    "cnn, fast_cnn, exported, onnx, torchvision/NAME, timm/NAME, or python:MODULE:FUNCTION of the folder networks/, "
    "like timm/resnet18 or python:small:build"
)
Name = Annotated[
    str,
    Field(
        pattern=r"^(cnn|fast_cnn|exported|onnx|(torchvision|timm)/[A-Za-z0-9_.\-]+|python:[A-Za-z_][A-Za-z0-9_.]*:[A-Za-z_][A-Za-z0-9_]*)$",
        max_length=128,
    ),
]
NORMALIZATIONS = (
    "'data', 'imagenet', 'half', 'none', 'weights', or [mean, deviation], each a number from 0 to 1 or a list of three "
    "of them, the deviation above 0,"
)
Mean = Annotated[float, Field(ge=0, le=1)]
Deviation = Annotated[float, Field(gt=0, le=1)]
OwnColours = Annotated[
    tuple[
        Mean | Annotated[tuple[Mean, Mean, Mean], Field(strict=False)],
        Deviation | Annotated[tuple[Deviation, Deviation, Deviation], Field(strict=False)],
    ],
    Field(strict=False),
]
IMAGENET_CLASSES = "imagenet-1k"
ClassName = Annotated[str, Field(min_length=1, max_length=1000)]
Argument = Annotated[str, Field(pattern=r"^[A-Za-z_]\w*$", max_length=64)]


class Model(Section):
    """A network: the source and name of the function that makes it, and the arguments that are passed on to it.

    What arguments there are is known to that function alone, see `models.networks`. `tuned` may stand for any value.
    """

    name: Annotated[Name | Tuned, Field(description=NAMES)]
    arguments: Annotated[dict[Argument, JsonValue] | None, Field(validate_default=True)] = None
    weights: Annotated[str, Field(min_length=1)] | None  # or tuned
    classes: (
        Annotated[tuple[ClassName, ...], Field(strict=False, min_length=2), AfterValidator(each_once)]
        | Annotated[str, Field(pattern=rf"^({IMAGENET_CLASSES}|.+\.(txt|json))$")]
        | None
    )
    normalization: Annotated[
        Literal["data", "imagenet", "half", "none", "weights"] | Tuned | OwnColours, Field(description=NORMALIZATIONS)
    ]
    input_size: Annotated[int, Field(ge=8, le=LARGEST)] | Tuned | None

    @field_validator("arguments")
    @classmethod
    def _can_be_written(cls, arguments: dict[str, Any] | None) -> dict[str, Any]:
        for name, value in (arguments or {}).items():
            try:
                json.dumps(value, ensure_ascii=False).encode()
            except ValueError:  # half a surrogate pair, or a number of thousands of digits
                raise ValueError(f"model.arguments.{name} is {shown(value)}, but must be writable as JSON") from None
        return arguments or {}

    def by_key(self) -> dict[str, Any]:
        """The value of every key; those of `model.arguments` one by one."""
        keys: dict[str, Any] = {}
        for key, value in self:
            inside = {f"{ARGUMENTS}.{name}": argument for name, argument in self.arguments.items()}
            keys |= inside if key == "arguments" else {f"model.{key}": value}
        return keys

    @rule
    def _weights_belong_to_a_registry(self) -> None:
        if self.name in OWN_NETWORKS and self.weights not in (None, TUNED) and "." not in self.weights:
            raise ValueError(
                f"model.weights is {shown(self.weights)}: with model.name = {self.name} it must be null or a file; "
                "only registries have weights by name"
            )
        wanted = NETWORK_FILES.get(self.name)
        if wanted and not (self.weights or "").endswith(wanted):
            raise ValueError(
                f"model.weights is {shown(self.weights)}: with model.name = {self.name} it must be a file that ends in "
                f"{wanted} and holds the network"
            )
        kind = next((name for name, end in NETWORK_FILES.items() if (self.weights or "").endswith(end)), self.name)
        if kind != self.name:
            raise ValueError(f"model.name is {self.name!r}: with model.weights = {self.weights} it must be {kind}")
        if self.normalization == "weights" and self.weights is None:
            raise ValueError("model.normalization is weights: model.weights must then name some, not be null")
        if self.classes is not None and self.weights is None:
            raise ValueError(
                "model.classes is given: with model.weights = null it must be null, for fresh outputs have no names"
            )

    @rule
    def _the_centre_is_cut_out_once(self, data: "Data") -> None:
        if self.normalization == "weights" and data.shorter_side is not None:
            raise ValueError(
                f"model.normalization is weights: with data.shorter_side = {data.shorter_side} it must be something "
                "else, like imagenet, or the weights' own crop would be taken of a crop"
            )


def first_drawn(model: Model, space: Sequence[Searched]) -> Model:
    """The section with a value for each key at which `tuned` stands: the first that goes with the others."""
    keys = model.by_key()
    tried: dict[str, Any] = {}
    for searched in in_order(space):
        if searched.key not in tried and searched.option.holds({**keys, **tried}):
            tried[searched.key] = searched.option.values()[0]
    found = {key: tried.get(key) if value == TUNED else value for key, value in keys.items()}
    arguments = {
        name: found[f"{ARGUMENTS}.{name}"]
        for name, value in model.arguments.items()
        if value != TUNED or f"{ARGUMENTS}.{name}" in tried
    }
    return Model(**{key: found[f"model.{key}"] for key, _ in model if key != "arguments"}, arguments=arguments)
