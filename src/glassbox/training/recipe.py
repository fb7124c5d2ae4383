"""How a network is trained."""

from dataclasses import dataclass

from glassbox.config.augment import Augment
from glassbox.config.train import Train, is_balanced
from glassbox.training.schedules import Schedule, make_schedule


@dataclass(frozen=True)
class Recipe:
    """The section `train` without the optimizer; augmentation and seed.

    Early stopping and schedule watch the validation loss, and count it as better when it falls by more than
    `min_delta` below the best so far. With the weight penalty, as in Keras, the watched loss may rise while the network
    still learns, because its weights grow.
    """

    epochs: int  # at most
    batch_size: int  # images a step, of all ranks together
    augment: Augment  # changes the training images at random, and the validation images if it is set to
    seed: int  # seed of the order of images, augmentation and dropout
    patience: int  # epochs without a better validation loss before training stops
    min_delta: float = 0.0
    watch: str = "loss"  # or "penalized_loss": the validation loss without or with the weight penalty
    keep: str = "best"  # or "last": the weights at the end
    # Share that a moving average of weights and statistics keeps at each step; None = no average. The averages are
    # validated and kept.
    ema_decay: float | None = None
    schedule: Schedule | None = None  # of the learning rate; None keeps it constant
    # First epochs in which only the last layer learns (feature extraction). `patience` counts after them, unless they
    # are all epochs.
    head_epochs: int = 0
    # Share of the label that is spread over all classes in training (Szegedy et al. 2016). Recorded losses are without.
    label_smoothing: float = 0.0
    # "balanced" multiplies each image's loss, also the recorded one, by `losses.balanced_weights` of its class.
    class_weights: str | None = None
    sampling: str = "shuffle"  # each image once an epoch; or "balanced", see `batching.balanced_order`

    @property
    def is_balanced(self) -> bool:
        """Whether every class counts the same, in training and in the validation loss."""
        return is_balanced(self.class_weights, self.sampling)


def recipe_of(settings: Train, augment: Augment, seed: int) -> Recipe:
    """The recipe of the section `train`, in which every value is given."""
    return Recipe(
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        augment=augment,
        seed=seed,
        patience=settings.patience,
        min_delta=settings.min_delta,
        watch=settings.watch,
        keep=settings.keep,
        ema_decay=settings.ema_decay,
        schedule=make_schedule(settings),
        head_epochs=settings.head_epochs,
        label_smoothing=settings.label_smoothing,
        class_weights=settings.class_weights,
        sampling=settings.sampling,
    )
