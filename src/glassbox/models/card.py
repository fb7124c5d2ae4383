"""The specification of a network, and the card of a classifier."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Spec:
    """Everything that decides a network, except the data."""

    name: str  # "cnn", or a network of torchvision
    hyperparameters: dict[str, Any]  # those of `cnn.Hyperparameters` or `registry.Hyperparameters`, by name
    normalization: str  # of colours; see the function `normalization`
    input_size: int | None  # side in pixels to which images are resized on the device; None takes them as they are


@dataclass(frozen=True)
class Card:
    """A classifier without its weights: enough to build the network again, and its origin."""

    name: str  # as in `Spec`, like the hyperparameters
    hyperparameters: dict[str, Any]
    classes: tuple[str, ...]  # names, in output order
    image_size: int  # side of the images, pixels
    input_size: int | None  # side to which the classifier resizes them
    mean: tuple[float, ...]  # per channel, on the scale 0..1: subtracted inside the classifier
    std: tuple[float, ...]  # divided by, likewise
    data_digest: str  # SHA-256 of the training data
    layers: list[dict[str, Any]]  # a `layers.Layer` each
    parameters: dict[str, int]  # their sums
    choices: list[dict[str, Any]]  # value and origin of every hyperparameter of network and training
    # Tensors that `model.weights` did not give: the head's, where it has other classes, and the first convolution's,
    # where it has another size.
    began_fresh: list[str]
    contradictions: list[str] = field(default_factory=list)  # see the function `contradictions`, and `check_data`

    def in_words(self) -> str:
        """Its size, and tensors with fresh weights."""
        size = "network of {total:,} parameters, {trainable:,} of them trainable".format(**self.parameters)
        if not self.began_fresh:
            return size
        return f"not in {self.hyperparameters['weights']}, so begun fresh: {', '.join(self.began_fresh)}\n{size}"
