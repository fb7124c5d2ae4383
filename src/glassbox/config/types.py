"""Types of values that several sections use."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

PACKAGE = Path(__file__).resolve().parents[1]

CNN = "cnn"  # the network of the CNN paper
OWN_NETWORKS = (CNN, "fast_cnn")  # which have no weights of their own
NETWORK_FILES = {"exported": ".pt2", "onnx": ".onnx"}  # endings of files with network and weights, by `model.name`
TUNED = "tuned"  # a value that means: the one that the search has found

MOST = 2**31 - 1  # of all that is counted: libraries use 32 bits
LARGEST = 1024  # side of an image in pixels, and the widest blur
SHARE_OR_GPUS = "a whole number from 0 to 64, or a share of one GPU, above 0 and below 1"

Fraction = Annotated[float, Field(ge=0, lt=1)]
Above = Annotated[float, Field(gt=0, lt=1)]  # a share
Strength = Annotated[float, Field(ge=0, le=1)]
Penalty = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(ge=1, le=MOST)]
Count = Annotated[int, Field(ge=0, le=MOST)]
TrainingBatch = Annotated[int, Field(ge=2, le=MOST)]  # batch normalisation needs two images to compare
Gpus = Annotated[int, Field(ge=0, le=64)] | Annotated[float, Field(gt=0, lt=1)]  # whole ones, or a share of one
Optimizer = Literal["adam", "adamw", "sgd", "rmsprop"]
Precision = Literal["auto", "float32", "bfloat16"]
Tuned = Literal["tuned"]


def list_of(element: Any) -> Any:
    """The type of a list of at least one value. A frozen section holds tuples, so the container converts YAML's lists;
    its elements stay strict."""
    return Annotated[tuple[element, ...], Field(strict=False, min_length=1)]


def each_once(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Validator of lists."""
    if len(set(values)) < len(values):
        raise ValueError("must not name one twice")
    return values


def rising(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Validator of lists of numbers."""
    if list(values) != sorted(set(values)):
        raise ValueError("the numbers must rise")
    return values


def files_of(folder: str, *shared: str) -> list[str]:
    """Names of the modules in a folder of the package, without shared ones. They are not imported: they belong to a
    higher layer."""
    return sorted({path.stem for path in (PACKAGE / folder).glob("*.py")} - {"__init__", *shared})
