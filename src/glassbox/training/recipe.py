"""How a network is trained."""

from dataclasses import dataclass

from glassbox.config.augment import Augment
from glassbox.config.train import is_balanced
from glassbox.training.schedules import Schedule


@dataclass(frozen=True)
class Recipe:
    """The section `train` without the optimizer; augmentation and seed.

    Early stopping and schedule watch the validation loss, and count it as better when it falls by more than
    `min_delta` below the best so far. With the weight penalty, as in Keras, the watched loss may rise while the network
    still learns, because its weights grow.

    Attributes:
        epochs: at most.
        batch_size: images a step, of all ranks together.
        augment: changes the training images at random, and the validation images if it is set to.
        seed: seed of the order of images, augmentation and dropout.
        patience: epochs without a better validation loss before training stops.
        min_delta: see above.
        watch: "loss" or "penalized_loss", the validation loss without or with the weight penalty.
        keep: the weights at the end, "best" or "last".
        schedule: of the learning rate; None keeps it constant.
        head_epochs: first epochs in which only the last layer learns (feature extraction). `patience` counts after
            them, unless they are all epochs.
        label_smoothing: share of the label that is spread over all classes in training (Szegedy et al. 2016). Recorded
            losses are without it.
        class_weights: "balanced" multiplies each image's loss, also the recorded one, by the weight of its class; see
            `losses.balanced_weights`.
        sampling: "shuffle" takes each image once an epoch, "balanced" as many of each class; see
            `batching.balanced_order`.
        section: section of params.yaml that `batch_size` is from, for messages.
    """

    epochs: int
    batch_size: int
    augment: Augment
    seed: int
    patience: int
    min_delta: float = 0.0
    watch: str = "loss"
    keep: str = "best"
    schedule: Schedule | None = None
    head_epochs: int = 0
    label_smoothing: float = 0.0
    class_weights: str | None = None
    sampling: str = "shuffle"
    section: str = "train"

    @property
    def is_balanced(self) -> bool:
        """Whether every class counts the same, in training and in the validation loss."""
        return is_balanced(self.class_weights, self.sampling)
