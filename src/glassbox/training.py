"""The training loop, as a generator: `for epoch in fit(...)` yields one record an epoch.

*tune* prunes on the records, *train* logs them, a test takes one and leaves. Where Keras, which the CNN paper used, and
PyTorch differ so much that results change, Keras is followed: weight penalties, RMSprop, what "no better" means.
"""

import copy
import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

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
    """ReduceLROnPlateau: after `patience` epochs without a better validation loss multiply the rate by `factor`, but
    not below `minimum`."""

    factor: float
    patience: int
    minimum: float


@dataclass(frozen=True)
class Epoch:
    """What one epoch brought. Losses are mean cross-entropies in nats.

    Attributes:
        epoch: from 1.
        train_loss, train_accuracy: over the epoch's own batches, with augmentation and dropout.
        validation_loss, validation_accuracy: after the epoch.
        weight_penalty: sum of lambda * sum(w^2) over the penalised kernels, after the epoch.
        learning_rate: used in this epoch.
        is_best: validation loss and weight penalty together, which Keras calls val_loss, are the lowest so far.
        seconds: of the whole epoch.
        images_per_second: of its training part.
    """

    epoch: int
    train_loss: float
    train_accuracy: float
    validation_loss: float
    validation_accuracy: float
    weight_penalty: float
    learning_rate: float
    is_best: bool
    seconds: float
    images_per_second: float

    def metrics(self) -> dict[str, float]:
        """What is drawn against the epoch."""
        return {name: value for name, value in asdict(self).items() if name not in ("epoch", "is_best")}


class Diverged(UserError):
    """The loss is no longer a number."""


class Adam(torch.optim.Adam):
    """Adam as Keras has it: epsilon is added before the average of squares is corrected for its start at zero, which
    PyTorch does the other way round. In PyTorch's terms epsilon is 32 times as large in the first step, and shrinks."""

    def step(self) -> None:
        for group in self.param_groups:
            group["steps"] = group.get("steps", 0) + 1
            group["eps"] = KERAS_EPSILON / math.sqrt(1 - group["betas"][1] ** group["steps"])
        super().step()


class RMSprop(torch.optim.Optimizer):
    """RMSprop as Keras has it: w -= rate * g / sqrt(average of g^2 + epsilon).

    PyTorch adds its epsilon outside of the root: with the same 1e-7 its steps for small gradients are much longer, 290
    times for a constant one of 1e-6.

    Args:
        params: groups, each with its `weight_decay`, which adds weight_decay * w to the gradient.
        lr: step size.
        alpha: share that the average of squares keeps at each step; Keras's rho.
        eps: epsilon.
    """

    def __init__(self, params: Iterable[dict[str, Any]], lr: float, alpha: float, eps: float) -> None:
        super().__init__(params, {"lr": lr, "alpha": alpha, "eps": eps, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            weights = [p for p in group["params"] if p.grad is not None]
            if not weights:
                continue
            for weight in weights:
                if not self.state[weight]:
                    self.state[weight]["square_avg"] = torch.zeros_like(weight)
            squares = [self.state[weight]["square_avg"] for weight in weights]
            gradients = torch._foreach_add([w.grad for w in weights], weights, alpha=group["weight_decay"])
            torch._foreach_mul_(squares, group["alpha"])
            torch._foreach_addcmul_(squares, gradients, gradients, value=1 - group["alpha"])
            roots = torch._foreach_sqrt(torch._foreach_add(squares, group["eps"]))
            torch._foreach_addcdiv_(weights, gradients, roots, value=-group["lr"])


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
        return Adam(groups, lr=rate, fused=True)  # one kernel, on the CPU as well
    if settings.name == "sgd":
        return torch.optim.SGD(groups, lr=rate, momentum=settings.momentum, fused=True)
    assert settings.name == "rmsprop"
    return RMSprop(groups, lr=rate, alpha=settings.rho, eps=KERAS_EPSILON)


@torch.no_grad()
def weight_penalty(classifier: Classifier) -> float:
    """Sum of lambda * sum(w^2) over the penalised kernels: what Keras adds to every loss that it reports."""
    return sum(penalty * kernel.square().sum().item() for kernel, penalty in classifier.network.penalties())


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
    """Train with early stopping; when the generator ends, the best weights are restored.

    Early stopping and schedule watch the validation loss with the weight penalty, as Keras does, and both count a loss
    as better when it falls by more than `min_delta` below the best one so far.

    Args:
        classifier: on `place.device`; trained in place.
        train, validation: on `place.device`, as uint8.
        optimizer: of the classifier's parameters.
        place: device and precision.
        epochs: at most.
        batch_size: images a step.
        how: augmentation of the training images.
        patience: epochs without a better validation loss before it stops.
        plateau: schedule of the learning rate, or None to keep it.
        seed: of the order of the images, of augmentation and dropout (this one through torch's global state).

    Yields:
        One `Epoch` after each epoch.

    Raises:
        Diverged: a loss is not finite.
    """
    torch.manual_seed(seed)
    generator = torch.Generator(place.device).manual_seed(seed)
    # PyTorch lowers the rate in the epoch after `patience` bad ones, Keras in the last of them.
    scheduler = plateau and torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=plateau.factor, patience=plateau.patience - 1, threshold=min_delta, threshold_mode="abs",
        min_lr=plateau.minimum, eps=0.0,
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
        penalty = weight_penalty(classifier)
        if not math.isfinite(train_loss + validation_loss + penalty):
            raise Diverged(f"the loss is not a number after epoch {epoch}: lower train.learning_rate ({rate:.3g})")
        watched = validation_loss + penalty
        is_best = watched < best_loss - min_delta  # the first always is
        if is_best:
            best_loss, best_weights, stale = watched, copy.deepcopy(classifier.state_dict()), 0
        else:
            stale += 1
        if scheduler:
            scheduler.step(watched)
        end = time.perf_counter()
        yield Epoch(
            epoch, train_loss, train_accuracy, validation_loss, validation_accuracy, penalty, rate, is_best,
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
