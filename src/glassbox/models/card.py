"""The specification of a network, and the card of a classifier."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Spec:
    """Everything that decides a network, except the data.

    Attributes:
        name: "cnn", or a network of torchvision.
        hyperparameters: by name; for "cnn" those of `cnn.Hyperparameters`, else those of `registry.Hyperparameters`.
        normalization: name of the colours' normalisation, see `normalization`.
        input_size: side in pixels to which images are resized on the device; None takes them as they are.
    """

    name: str
    hyperparameters: dict[str, Any]
    normalization: str
    input_size: int | None


@dataclass(frozen=True)
class Card:
    """A classifier without its weights: enough to build the network again, and its origin.

    Attributes:
        name, hyperparameters: as in `Spec`.
        classes: names, in output order.
        image_size: side of the images, pixels.
        input_size: side to which the classifier resizes them, or None.
        mean, std: per channel, on the scale 0..1: subtracted and divided by inside the classifier.
        data_digest: SHA-256 of the data it was trained on.
        layers: name, kind, shape of the output and numbers of parameters of every layer.
        parameters: their sums.
        choices: value and origin of every hyperparameter of network and training.
        began_fresh: tensors that `model.weights` did not give: the head's, where it has other classes, and the first
            convolution's, where it has another size.
        contradictions: sentences on images that do not suit `model.weights`; see `contradictions` and `check_data`.
    """

    name: str
    hyperparameters: dict[str, Any]
    classes: tuple[str, ...]
    image_size: int
    input_size: int | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    data_digest: str
    layers: list[dict[str, Any]]
    parameters: dict[str, int]
    choices: list[dict[str, Any]]
    began_fresh: list[str]
    contradictions: list[str] = field(default_factory=list)

    def in_words(self) -> str:
        """Its size, and tensors with fresh weights."""
        size = "network of {total:,} parameters, {trainable:,} of them trainable".format(**self.parameters)
        if not self.began_fresh:
            return size
        return f"not in {self.hyperparameters['weights']}, so begun fresh: {', '.join(self.began_fresh)}\n{size}"
