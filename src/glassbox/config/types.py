"""Kinds of values that several sections have."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

PACKAGE = Path(__file__).resolve().parents[1]

CNN = "cnn"  # the network of the CNN paper; any other name is one of torchvision's
TUNED = "tuned"  # the value that stands for: take what the search found

MOST = 2**31 - 1  # of anything that is counted: what libraries take for a number of 32 bits
LARGEST = 1024  # side of an image in pixels; a blur wider than that is none
SHARE_OR_GPUS = "a whole number from 0 to 64, or a share of one GPU, above 0 and below 1"

Fraction = Annotated[float, Field(ge=0, lt=1)]
Above = Annotated[float, Field(gt=0, lt=1)]  # a share
Strength = Annotated[float, Field(ge=0, le=1)]
Penalty = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(ge=1, le=MOST)]
Count = Annotated[int, Field(ge=0, le=MOST)]
TrainingBatch = Annotated[int, Field(ge=2, le=MOST)]  # batch normalisation needs two images to compare
Pool = Annotated[int, Field(ge=1, le=8)]
Kernel = Annotated[int, Field(ge=1, le=15)]
Gpus = Annotated[int, Field(ge=0, le=64)] | Annotated[float, Field(gt=0, lt=1)]  # whole ones, or a share of one
Activation = Literal["relu", "leaky_relu"]
Optimizer = Literal["adam", "sgd", "rmsprop"]
Precision = Literal["auto", "float32", "bfloat16"]
Tuned = Literal["tuned"]


def list_of(element: Any) -> Any:
    """A list of at least one value: YAML has lists, a frozen section wants tuples, so the container converts, and its
    elements stay strict."""
    return Annotated[tuple[element, ...], Field(strict=False, min_length=1)]


def odd(value: int | str) -> int | str:
    """A validator of kernel sizes."""
    if isinstance(value, int) and value % 2 == 0:
        raise ValueError("a kernel size must be odd, so that 'same' padding is symmetric")
    return value


def each_once(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """A validator of lists."""
    if len(set(values)) < len(values):
        raise ValueError("must not name one twice")
    return values


def files_of(folder: str, *shared: str) -> list[str]:
    """Names of what has a file of its own in a folder of the package. Nothing is imported, for what lies there is of a
    layer above, and nothing is listed a second time."""
    return sorted({path.stem for path in (PACKAGE / folder).glob("*.py")} - {"__init__", *shared})
