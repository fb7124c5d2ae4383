"""The card of a classifier."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Card:
    """A classifier without its weights: enough to build the network again, and its origin."""

    name: str  # these three as in the section `model`, with the values that were given or found
    arguments: dict[str, Any]
    weights: str | None
    classes: tuple[str, ...]  # names, in output order
    image_size: int  # side of the images, pixels
    preprocessing: dict[str, Any]  # the fields of a `preprocessing.Preprocessing`
    data_digest: str  # SHA-256 of the training data
    layers: list[dict[str, Any]]  # a `layers.Layer` each
    parameters: dict[str, int]  # their sums
    choices: list[dict[str, Any]]  # value and origin of every hyperparameter of network and training
    # Tensors that `model.weights` did not give: the head's, where it has other classes, and the first convolution's,
    # where it has another size.
    began_fresh: list[str]
    weights_digest: str | None = None  # SHA-256 of the file of `weights`, see `weights.digest`
    outputs: list[int] | None = None  # of the network, in the order of `classes`; None: as the network has them
    contradictions: list[str] = field(default_factory=list)  # see the function `contradictions`, and `check_data`

    @property
    def is_trained(self) -> bool:
        """Whether it was trained here, and not taken as it is."""
        return any(choice["key"].startswith("train.") for choice in self.choices)

    def in_words(self) -> str:
        """Its size, and tensors with fresh weights."""
        size = "network of {total:,} parameters, {trainable:,} of them trainable".format(**self.parameters)
        if not self.parameters["total"]:  # an ONNX model keeps them to itself
            size = "network whose parameters are not counted"
        if not self.began_fresh:
            return size
        return f"not in {self.weights}, so begun fresh: {', '.join(self.began_fresh)}\n{size}"
