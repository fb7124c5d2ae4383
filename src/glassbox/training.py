"""The training loop, as a generator: `for epoch in fit(...)` yields one record an epoch.

*tune* prunes on the records, *train* logs them, a test takes one and leaves.
"""

import copy
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import torch
from torch.nn.functional import cross_entropy

from glassbox.compute import Place
from glassbox.config import Augment
from glassbox.data.batches import augment, to_float
from glassbox.data.store import Split
from glassbox.errors import UserError
from glassbox.models import Classifier, evaluating

KERAS_EPSILON = 1e-7  # of Adam and RMSprop; PyTorch's own default is 1e-8


@dataclass(frozen=True)
class OptimizerSettings:
    """An optimizer of the CNN paper (figure 9); momentum belongs to sgd, rho to rmsprop, else they are None."""

    name: str
    learning_rate: float
    momentum: float | None = None
    rho: float | None = None


@dataclass(frozen=True)
class Plateau:
    """ReduceLROnPlateau: after `patience` epochs without a better validation loss multiply the rate by `factor`."""

    factor: float
    patience: int
    minimum: float


@dataclass(frozen=True)
class Epoch:
    """What one epoch brought. Losses are mean cross-entropies in nats, without the weight penalty.

    Attributes:
        epoch: from 1.
        train_loss, train_accuracy: over the epoch's own batches, with augmentation and dropout.
        validation_loss, validation_accuracy: after the epoch.
        learning_rate: used in this epoch.
        is_best: the validation loss is the lowest so far.
        seconds: of the whole epoch.
        images_per_second: of its training part.
    """

    epoch: int
    train_loss: float
    train_accuracy: float
    validation_loss: float
    validation_accuracy: float
    learning_rate: float
    is_best: bool
    seconds: float
    images_per_second: float

    def metrics(self) -> dict[str, float]:
        """What is drawn against the epoch."""
        return {name: value for name, value in asdict(self).items() if name not in ("epoch", "is_best")}


class Diverged(UserError):
    """The loss is no longer a number."""


def make_optimizer(classifier: Classifier, settings: OptimizerSettings) -> torch.optim.Optimizer:
    """The optimizer with the network's weight penalties.

    Keras adds lambda * sum(w^2) to the loss, with gradient 2 * lambda * w; PyTorch's coupled weight decay adds
    weight_decay * w to the gradient: hence weight_decay = 2 * lambda, on the penalised kernels only.
    """
    penalties = classifier.network.penalties()
    penalised = {id(kernel) for kernel, _ in penalties}
    groups = [{"params": [kernel], "weight_decay": 2 * penalty} for kernel, penalty in penalties]
    groups.append({"params": [p for p in classifier.parameters() if id(p) not in penalised], "weight_decay": 0.0})
    rate = settings.learning_rate
    if settings.name == "adam":
        return torch.optim.Adam(groups, lr=rate, eps=KERAS_EPSILON)
    if settings.name == "sgd":
        return torch.optim.SGD(groups, lr=rate, momentum=settings.momentum)
    assert settings.name == "rmsprop"
    return torch.optim.RMSprop(groups, lr=rate, alpha=settings.rho, eps=KERAS_EPSILON)


def fit(
    classifier: Classifier,
    train: Split,
    validation: Split,
    optimizer: torch.optim.Optimizer,
    *,
    place: Place,
    epochs: int,
    batch_size: int,
    how: Augment,
    patience: int,
    min_delta: float = 0.0,
    plateau: Plateau | None = None,
    seed: int,
) -> Iterator[Epoch]:
    """Train with early stopping on the validation loss; when the generator ends, the best weights are restored.

    Args:
        classifier: on `place.device`; trained in place.
        train, validation: on `place.device`, as uint8.
        optimizer: of the classifier's parameters.
        place: device and precision.
        epochs: at most.
        batch_size: images a step.
        how: augmentation of the training images.
        patience: epochs without a validation loss better by more than `min_delta` before it stops.
        plateau: schedule of the learning rate, or None to keep it.
        seed: of the order of the images, of augmentation and dropout (this one through torch's global state).

    Yields:
        One `Epoch` after each epoch.

    Raises:
        Diverged: a loss is not finite.
    """
    torch.manual_seed(seed)
    generator = torch.Generator(place.device).manual_seed(seed)
    scheduler = plateau and torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=plateau.factor, patience=plateau.patience, threshold=min_delta, threshold_mode="abs",
        min_lr=plateau.minimum,
    )  # fmt: skip
    best_loss, best_weights, stale = math.inf, None, 0
    n = len(train)

    for epoch in range(1, epochs + 1):
        start = time.perf_counter()
        rate = optimizer.param_groups[0]["lr"]
        loss_sum = torch.zeros((), device=place.device)  # summed on the device: reading it each step would wait for it
        correct = torch.zeros((), dtype=torch.int64, device=place.device)
        classifier.train()
        for rows in batches(torch.randperm(n, generator=generator, device=place.device), batch_size):
            x = augment(train.images[rows], how, generator)  # (B, 3, H, W)
            y = train.labels[rows]  # (B,)
            with place.autocast():
                logits = classifier(x)  # (B, K)
            loss = cross_entropy(logits.float(), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss_sum += loss.detach() * len(rows)
            correct += (logits.argmax(1) == y).sum()
        train_loss, train_accuracy = loss_sum.item() / n, correct.item() / n
        trained = time.perf_counter()

        validation_loss, validation_accuracy = assess(classifier, validation, place)
        if not (math.isfinite(train_loss) and math.isfinite(validation_loss)):
            raise Diverged(f"the loss is not a number after epoch {epoch}: lower train.learning_rate ({rate:.3g})")
        is_best = validation_loss < best_loss - (min_delta if best_weights else 0.0)
        if is_best:
            best_loss, best_weights, stale = validation_loss, copy.deepcopy(classifier.state_dict()), 0
        else:
            stale += 1
        if scheduler:
            scheduler.step(validation_loss)
        end = time.perf_counter()
        yield Epoch(
            epoch, train_loss, train_accuracy, validation_loss, validation_accuracy, rate, is_best,
            end - start, n / (trained - start),
        )  # fmt: skip
        if stale >= patience:
            break

    classifier.load_state_dict(best_weights)


def batches(order: torch.Tensor, size: int) -> list[torch.Tensor]:
    """`order` in parts of `size`; a last one of a single image, which batch norm could not compare with any other,
    joins the part before."""
    parts = list(order.split(size))
    if len(parts) > 1 and len(parts[-1]) == 1:
        parts[-2:] = [torch.cat(parts[-2:])]
    return parts


@torch.inference_mode()
def assess(classifier: Classifier, split: Split, place: Place) -> tuple[float, float]:
    """Mean cross-entropy (nats) and accuracy on a split that is on the device."""
    loss_sum = torch.zeros((), dtype=torch.float64, device=place.device)
    correct = torch.zeros((), dtype=torch.int64, device=place.device)
    with evaluating(classifier), place.autocast():
        for images, labels in zip(
            split.images.split(place.batch_size), split.labels.split(place.batch_size), strict=True
        ):
            logits = classifier(to_float(images)).float()
            loss_sum += cross_entropy(logits, labels, reduction="sum")
            correct += (logits.argmax(1) == labels).sum()
    return loss_sum.item() / len(split), correct.item() / len(split)
