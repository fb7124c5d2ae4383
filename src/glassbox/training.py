"""The training loop, as a generator: `for epoch in fit(...)` yields one record an epoch.

*tune* prunes on the records, *train* logs them, a test takes one and leaves. Where Keras, which the CNN paper used, and
PyTorch differ so much that results change, Keras is followed: weight penalties, RMSprop, what "no better" means.
"""

import copy
import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import cross_entropy

from glassbox import models, resume
from glassbox.compute import Place, peak_memory, refusals
from glassbox.config import Augment, Train, is_balanced
from glassbox.data.batches import augment, to_float
from glassbox.data.store import Description, Split
from glassbox.errors import UserError
from glassbox.models import Classifier, Spec, across, evaluating, fresh
from glassbox.ranks import Ranks
from glassbox.seeds import derive

if TYPE_CHECKING:
    import pandas as pd

COSTS = ("seconds", "images_per_second", "peak_memory")  # fields of a record that differ from run to run
AHEAD = {"cpu": 2**24, "cuda": 2**28}  # bytes of images that are made at a time, by kind of device
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
class OneCycle:
    """The one-cycle schedule (Smith & Topin 2017), step by step: over the share `warmup` of all steps the rate rises
    from 1/25 of the optimizer's to the optimizer's, then falls to 1/10,000 of where it began, both along a cosine."""

    warmup: float


Schedule = Plateau | OneCycle


def make_schedule(settings: Train) -> Schedule | None:
    """The schedule that the section `train` names; None for a constant rate."""
    if settings.schedule == "plateau":
        return Plateau(settings.lr_factor, settings.lr_patience, settings.min_learning_rate)
    return OneCycle(settings.warmup) if settings.schedule == "one_cycle" else None


@dataclass(frozen=True)
class Epoch:
    """What one epoch brought. Losses are mean cross-entropies in nats.

    Attributes:
        epoch: from 1.
        train_loss, train_accuracy: over the epoch's own batches, with augmentation and dropout.
        validation_loss, validation_accuracy: after the epoch. Where training counts every class the same, the loss is
            the mean over classes of the mean loss of each, which early stopping and schedule then watch.
        weight_penalty: sum of lambda * sum(w^2) over the penalised kernels, after the epoch.
        learning_rate: used in this epoch.
        is_best: what is watched, see `fit`, is the lowest so far.
        seconds: of the whole epoch.
        images_per_second: of its training part.
        peak_memory: most that was in use so far, GiB; see `compute.peak_memory`.
        validation_balanced_accuracy: mean over classes of the share of its validation images that is recognised.
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
    peak_memory: float
    validation_balanced_accuracy: float

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


def make_optimizer(
    classifier: Classifier, settings: OptimizerSettings, weight_decay: float = 0.0
) -> torch.optim.Optimizer:
    """The optimizer with the network's weight penalties, and weight decay.

    Keras adds lambda * sum(w^2) to the loss, with gradient 2 * lambda * w; PyTorch's coupled weight decay adds
    weight_decay * w to the gradient: hence weight_decay = 2 * lambda, on the penalised kernels only.

    Args:
        classifier: its parameters.
        settings: of the optimizer.
        weight_decay: added for every parameter, biases and batch norm's included, as PyTorch's optimizers do.
    """
    penalties = classifier.network.penalties()
    penalised = {id(kernel) for kernel, _ in penalties}
    groups = [{"params": [kernel], "weight_decay": 2 * penalty + weight_decay} for kernel, penalty in penalties]
    rest = [p for p in classifier.parameters() if id(p) not in penalised]
    groups.append({"params": rest, "weight_decay": weight_decay})
    rate = settings.learning_rate
    if settings.name == "adam":
        return Adam(groups, lr=rate, fused=True)  # one kernel, on the CPU as well
    if settings.name == "sgd":
        sgd = torch.optim.SGD(groups, lr=rate, momentum=settings.momentum, fused=True)
        if settings.momentum:
            # In one kernel all weights of a group have a velocity or none has, but the head may begin to learn before.
            for weight in (weight for group in groups for weight in group["params"]):
                sgd.state[weight]["momentum_buffer"] = torch.zeros_like(weight)
        return sgd
    assert settings.name == "rmsprop"
    return RMSprop(groups, lr=rate, alpha=settings.rho, eps=KERAS_EPSILON)


@torch.no_grad()
def weight_penalty(classifier: Classifier) -> float:
    """Sum of lambda * sum(w^2) over the penalised kernels: what Keras adds to every loss that it reports."""
    return sum((penalty * kernel.square().sum().item() for kernel, penalty in classifier.network.penalties()), 0.0)


@dataclass(frozen=True)
class Training:
    """One training as the section `train` has it: all that decides it but images and place.

    Attributes:
        network: what to train.
        data: whose statistics normalise colours.
        optimizer: with the values that were given or found.
        settings: all else of the section `train`.
        how: augmentation.
        seed: of the study.
        arm: name of the images among those of `data`. Arms that differ in their pixels alone begin with the same
            weights, and come in the same order.
    """

    network: Spec
    data: Description
    optimizer: OptimizerSettings
    settings: Train
    how: Augment
    seed: int
    arm: str = ""

    def fresh(self, device: torch.device) -> Classifier:
        """The classifier that it begins with."""
        return fresh(self.network, self.data, derive(self.seed, "train", "weights"), device)

    def checkpoint(self, place: Place) -> resume.Checkpoint:
        """What it goes on from."""
        return resume.checkpoint(
            "-".join(filter(None, ("train", self.arm))), place, self.seed, self.data.digest, asdict(self.network),
            models.digest_of_weights(self.network), asdict(self.optimizer), self.settings, self.how,
        )  # fmt: skip

    def epochs(
        self, classifier: Classifier, train: Split, validation: Split, place: Place, checkpoint: resume.Saved,
        ranks: Ranks | None = None,
    ) -> Iterator[Epoch]:  # fmt: skip
        """Train the classifier, which is on `place.device`; see `fit`.

        Args:
            classifier: of `fresh`.
            train, validation: on any device.
            place: device and precision.
            checkpoint: read once, and written after each epoch.
            ranks: that train together.
        """
        s = self.settings
        return fit(
            classifier, train.to(place.device), validation.to(place.device),
            make_optimizer(classifier, self.optimizer, s.weight_decay),
            place=place, epochs=s.epochs, batch_size=s.batch_size, how=self.how, patience=s.patience,
            watch=s.watch, min_delta=s.min_delta, keep=s.keep, schedule=make_schedule(s), head_epochs=s.head_epochs,
            label_smoothing=s.label_smoothing, class_weights=s.class_weights, sampling=s.sampling,
            seed=derive(self.seed, "train", "batches"), checkpoint=checkpoint, ranks=ranks,
        )  # fmt: skip

    @staticmethod
    def ranks() -> Ranks | None:
        """Those of this process's group; None where it trains alone."""
        return Ranks.here()

    @staticmethod
    def record(values: dict[str, Any]) -> Epoch:
        """One of `epochs`, from its fields."""
        return Epoch(**values)

    def begin(
        self, train: Split, validation: Split, place: Place
    ) -> tuple[Classifier, Iterator[Epoch], resume.Checkpoint]:
        """A fresh classifier, its training in this process, and the checkpoint that this writes and goes on from."""
        checkpoint, classifier = self.checkpoint(place), self.fresh(place.device)
        return classifier, self.epochs(classifier, train, validation, place, checkpoint), checkpoint


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
    schedule: Schedule | None = None,
    head_epochs: int = 0,
    label_smoothing: float = 0.0,
    class_weights: str | None = None,
    sampling: str = "shuffle",
    watch: str = "loss",
    keep: str = "best",
    seed: int,
    section: str = "train",
    checkpoint: resume.Saved | None = None,
    ranks: Ranks | None = None,
) -> Iterator[Epoch]:
    """Train with early stopping; when the generator ends, the best weights are restored, unless the last are kept.

    With a checkpoint, a training whose process ended goes on after its last whole epoch, and comes to the same bits as
    one that ran through: weights, statistics, optimizer, schedule, early stopping and random numbers are as they were.

    Early stopping and schedule watch the validation loss, and both count it as better when it falls by more than
    `min_delta` below the best one so far. With the weight penalty, as Keras does, it may rise while the network still
    learns: the penalty of weights that grow hides what they gain.

    Several ranks do the work of one: each takes its share of the same batches, and the gradients, statistics of batch
    norm, losses and accuracies are those of whole batches, but for the last bits of sums. All of them are called with
    the same arguments, but for the device and the checkpoint, make the same steps and yield the same records, but for
    the times.

    Args:
        classifier: on `place.device`; trained in place.
        train, validation: on `place.device`, as uint8.
        optimizer: of the classifier's parameters.
        place: device and precision.
        epochs: at most.
        batch_size: images a step, of all ranks together.
        how: augmentation of the training images, and of the validation images where it says so.
        patience: epochs without a better validation loss before it stops.
        schedule: of the learning rate, or None to keep it.
        head_epochs: first epochs in which only the last layer learns (feature extraction); then all of it, and only
            then `patience` counts, unless the last layer is all that learns.
        label_smoothing: share of the label that is spread over all classes in training (Szegedy et al. 2016). The
            losses of the records are without it.
        class_weights: "balanced" multiplies each image's loss by the weight of its class, see `balanced_weights`; also
            in the records.
        sampling: "shuffle" takes each image once an epoch, "balanced" as many of each class, see `balanced_order`. With
            this or class weights, validation loss makes every class count the same as well.
        watch: "loss" or "penalized_loss", the validation loss alone or with the weight penalty.
        keep: "best" or "last" weights.
        seed: of the order of the images, of augmentation and dropout (this one through torch's global state).
        section: of params.yaml that `batch_size` stands in, for messages.
        checkpoint: of this very training, read once and written after each epoch. Of several ranks only the first
            one's is looked at, for all.
        ranks: that train together; None is this process alone. See `Ranks.here`.

    Yields:
        One `Epoch` after each epoch; first those that a checkpoint brings.

    Raises:
        Diverged: a loss is not finite, which all ranks find alike.
        UserError: the device refuses, see `compute.refusals`, or several ranks are asked for CUDA graphs.
    """
    if ranks and place.graphs:
        raise UserError(
            f"compute.compile is cuda_graphs, but {ranks.size} processes train together, which wait for one another "
            "within a step: use false or true"
        )
    torch.manual_seed(seed)
    generator = torch.Generator(place.device).manual_seed(seed)
    best_loss, best_weights, stale = math.inf, None, 0
    records: list[Epoch] = []
    n = len(train)
    weights = balanced_weights(train.labels) if class_weights else None
    judged = balanced_weights(validation.labels) if is_balanced(class_weights, sampling) else None
    side = classifier.input_size or train.images.shape[1]
    changed = partial(augment, how=how, generator=generator, input_size=classifier.input_size)
    # A step's shapes are fixed but for the last one's: two graphs are cheaper than one for any size.
    mode = "reduce-overhead" if place.graphs else None  # PyTorch's name for CUDA graphs
    learner, whole = across.joined(classifier, ranks, place.compiled) if ranks else (classifier, None)
    network = torch.compile(learner, dynamic=False, mode=mode) if place.compiled else learner
    sizes = [len(part) for part in batches(torch.arange(n), batch_size)]
    plateau = cycle = None
    if isinstance(schedule, Plateau):
        # PyTorch lowers the rate in the epoch after `patience` bad ones, Keras in the last of them.
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer, factor=schedule.factor, patience=schedule.patience - 1, threshold=min_delta,
            threshold_mode="abs", min_lr=schedule.minimum, eps=0.0,
        )  # fmt: skip
    elif isinstance(schedule, OneCycle):
        steps = epochs * len(sizes)
        highest = optimizer.param_groups[0]["lr"]
        cycle = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, highest, steps, pct_start=schedule.warmup, cycle_momentum=False
        )

    learning = {"classifier": classifier, "optimizer": optimizer} | ({"schedule": plateau or cycle} if schedule else {})
    if ranks and ranks.rank:
        checkpoint = None
    state = checkpoint.load() if checkpoint else None
    if ranks:
        state = ranks.of_first(state, place.device)
    if state:
        for name, part in learning.items():
            part.load_state_dict(state[name])
        best_loss, best_weights, stale = state["best_loss"], state["best_weights"], state["stale"]
        records = [Epoch(**record) for record in state["records"]]
        torch.set_rng_state(state["dropout"])
        generator.set_state(state["generator"])
        if place.device.type == "cuda":
            torch.cuda.set_rng_state(state["dropout_cuda"], place.device)
        if checkpoint:
            checkpoint.tell(f"the training goes on after epoch {len(records)}")
        yield from records

    for epoch in range(len(records) + 1, epochs + 1):
        if stale >= patience:
            break
        start = time.perf_counter()
        rate = optimizer.param_groups[0]["lr"]
        loss_sum = torch.zeros((), device=place.device)  # summed on the device: reading it each step would wait for it
        correct = torch.zeros((), dtype=torch.int64, device=place.device)
        learner.train()
        if head_epochs:
            learner.train_head_only(epoch <= head_epochs)
        # Anew for each epoch, as after an interruption: in what order it adds gradients depends on its steps so far.
        forward = ranks.averaging(network) if ranks else network
        if sampling == "balanced":
            order = balanced_order(train.labels, generator)
        else:
            order = torch.randperm(n, generator=generator, device=place.device)
        if ranks:
            ranks.follow(order)  # GPUs of two kinds draw different ones
        with refusals(place.device, f"{section}.batch_size", batch_size, side):
            shares = stream(train, order, batch_size, changed, ranks)
            for size, (x, y) in zip(sizes, shares, strict=True):  # (B, 3, H, W), (B,)
                if whole:
                    whole.images = size
                if place.graphs:
                    torch.compiler.cudagraph_mark_step_begin()  # what the last step made may be overwritten
                with place.autocast():
                    logits = forward(x)  # (B, K)
                loss = mean_loss(logits.float(), y, size, ranks, label_smoothing, weights)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                if cycle:
                    cycle.step()
                plain = loss.detach()
                if label_smoothing:
                    plain = mean_loss(logits.detach().float(), y, size, ranks, weights=weights)
                loss_sum += plain * size
                correct += (logits.argmax(1) == y).sum()
        if ranks:
            loss_sum, correct = ranks.sum(loss_sum) / ranks.size, ranks.sum(correct)
        train_loss, train_accuracy = loss_sum.item() / n, correct.item() / n
        trained = time.perf_counter()

        validation_loss, validation_accuracy, balanced_accuracy = assess(
            classifier, validation, place, changed if how.validation_and_test else to_float, ranks, judged
        )
        penalty = weight_penalty(classifier)
        if not math.isfinite(train_loss + validation_loss + penalty):
            raise Diverged(f"the loss is not a number after epoch {epoch}: lower train.learning_rate ({rate:.3g})")
        watched = validation_loss + penalty * (watch == "penalized_loss")
        is_best = watched < best_loss - min_delta  # the first always is
        if is_best:
            best_loss, stale = watched, 0
            best_weights = copy.deepcopy(classifier.state_dict()) if keep == "best" else None
        elif epoch > head_epochs or head_epochs >= epochs:
            stale += 1
        if plateau:
            plateau.step(watched)
        memory = peak_memory(place.device)
        if ranks:
            memory = ranks.highest(memory, place.device)
        end = time.perf_counter()
        record = Epoch(
            epoch, train_loss, train_accuracy, validation_loss, validation_accuracy, penalty, rate, is_best,
            end - start, n / (trained - start), memory, balanced_accuracy,
        )  # fmt: skip
        if checkpoint:
            records.append(record)
            state = {name: part.state_dict() for name, part in learning.items()}
            state |= {"best_loss": best_loss, "best_weights": best_weights, "stale": stale}
            state |= {"records": [asdict(record) for record in records]}
            state |= {"dropout": torch.get_rng_state(), "generator": generator.get_state()}
            if place.device.type == "cuda":
                state["dropout_cuda"] = torch.cuda.get_rng_state(place.device)
            checkpoint.save(state)
        yield record

    if keep == "best":
        classifier.load_state_dict(best_weights)


def summary(table: "pd.DataFrame", keep: str) -> dict[str, float]:
    """What is said of a training: the epoch whose weights were kept ("best" or "last"), its validation, and how many
    there were; `table` has a row an epoch, with the fields of `Epoch`."""
    kept = (table if keep == "last" else table[table["is_best"]]).iloc[-1]
    names = ("validation_loss", "validation_accuracy", "validation_balanced_accuracy", "weight_penalty")
    numbers = {f"best_epoch_{name}": float(kept[name]) for name in names}
    return numbers | {"best_epoch": int(kept["epoch"]), "epochs": len(table)}


def told(numbers: dict[str, float], measure: str) -> str:
    """Which epoch's weights are kept, in words, from a `summary`; `measure` is of `config.judged_by`."""
    accuracy = 100 * numbers[f"best_epoch_{measure}"]
    return f"kept: epoch {numbers['best_epoch']}, {accuracy:.2f} % {measure.replace('_', ' ')}"


def balanced_weights(labels: torch.Tensor) -> torch.Tensor:
    """Weights (K,) float32 of the classes of labels (N,): N / (K * n_k) for a class with n_k images, as scikit-learn's
    "balanced" has them, so that all classes weigh the same together and the mean weight of an image is 1."""
    counts = torch.bincount(labels)
    return len(labels) / ((counts > 0).sum() * counts.clamp_min(1)).float()


def balanced_order(labels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Rows (N,) of an epoch of as many images of each class, which differ by one at most, in random order. Those of a
    class are drawn with replacement, all equally likely.

    Args:
        labels: (N,) of the training images.
        generator: of the same device.
    """
    n, device = len(labels), labels.device
    rows, counts = labels.argsort(stable=True), torch.bincount(labels)  # one class after another
    present = counts.nonzero().flatten()
    present = present[torch.randperm(len(present), generator=generator, device=device)]  # the first get one more
    of_class = present[torch.arange(n, device=device) % len(present)]
    within = torch.rand(n, generator=generator, device=device, dtype=torch.float64) * counts[of_class]
    drawn = rows[counts.cumsum(0)[of_class] - counts[of_class] + within.long()]
    return drawn[torch.randperm(n, generator=generator, device=device)]


def mean_loss(
    logits: torch.Tensor,
    y: torch.Tensor,
    size: int,
    ranks: Ranks | None,
    label_smoothing: float = 0.0,
    weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """Mean cross-entropy (nats) of a batch; on several ranks, a number of the own share whose mean over ranks it is.

    Args:
        logits: (B, K) of this rank's share, which may be empty.
        y: (B,) labels.
        size: images of the whole batch.
        ranks: that share it, or None.
        label_smoothing: share of the label that is spread over all classes.
        weights: (K,) by which an image's loss is multiplied, by its class; the sum is divided by the number of images,
            as Keras does, not by that of the weights.
    """
    if weights is not None:
        losses = cross_entropy(logits, y, label_smoothing=label_smoothing, reduction="none") * weights[y]
        return losses.sum() * ((ranks.size if ranks else 1) / size)
    if ranks is None:
        return cross_entropy(logits, y, label_smoothing=label_smoothing)
    return cross_entropy(logits, y, label_smoothing=label_smoothing, reduction="sum") * (ranks.size / size)


def batches(order: torch.Tensor, size: int) -> list[torch.Tensor]:
    """`order` in parts of `size`; a last one of a single image, which batch norm could not compare with any other,
    joins the part before."""
    parts = list(order.split(size))
    if len(parts) > 1 and len(parts[-1]) == 1:
        parts[-2:] = [torch.cat(parts[-2:])]
    return parts


def stream(
    split: Split,
    order: torch.Tensor,
    size: int,
    change: Callable[..., torch.Tensor],
    ranks: Ranks | None = None,
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Batches of images (B, 3, H, W) and labels (B,), in the given order. Several are made at a time, as long as they
    are small: what it takes to begin an operation is then shared.

    Args:
        split: on any device.
        order: (N,) rows, on the same.
        size: images in a batch; see `batches`.
        change: makes (B, H, W, 3) uint8 to (B, 3, H, W) float; with `own`, only these rows.
        ranks: of which this one gets its share of each batch; None is all of it.
    """
    parts = batches(order, size)
    at_once = max(1, AHEAD[split.images.device.type] // (4 * size * split.images[0].numel()))
    for start in range(0, len(parts), at_once):
        some = parts[start : start + at_once]
        rows, sizes = torch.cat(some), [len(part) for part in some]
        images, y = split.images.index_select(0, rows), split.labels.index_select(0, rows)
        if ranks:
            places = torch.arange(len(rows), device=rows.device).split(sizes)
            owned = [part[ranks.share(len(part))] for part in places]
            own, sizes = torch.cat(owned), [len(part) for part in owned]
            x, y = change(images, own=own), y[own]
        else:
            x = change(images)
        yield from zip(x.split(sizes), y.split(sizes), strict=True)


@torch.inference_mode()
def assess(
    classifier: Classifier,
    split: Split,
    place: Place,
    prepare: Callable[..., torch.Tensor] = to_float,
    ranks: Ranks | None = None,
    weights: torch.Tensor | None = None,
) -> tuple[float, float, float]:
    """Mean cross-entropy (nats), accuracy and balanced accuracy (the mean over the classes that have images of the
    share that is recognised) on a split that is on the device.

    Args:
        classifier: in any mode, which it keeps.
        split: on `place.device`.
        place: device, precision and batch size.
        prepare: makes (B, H, W, 3) uint8 to the (B, 3, H, W) float that the classifier takes; with `own`, only these
            rows.
        ranks: that share each batch; all get the sums of all. None is this process alone.
        weights: (K,) by which an image's cross-entropy is multiplied, by its class; None = 1.
    """
    of_class = torch.bincount(split.labels)  # images
    right_of = torch.zeros_like(of_class)
    loss_sum = torch.zeros((), dtype=torch.float64, device=place.device)
    side = classifier.input_size or split.images.shape[1]
    limits = refusals(place.device, "compute.batch_size", place.batch_size, side)
    with limits, evaluating(classifier):
        for images, labels in zip(
            split.images.split(place.batch_size), split.labels.split(place.batch_size), strict=True
        ):
            if ranks:
                own = ranks.share(len(images))
                x, labels = prepare(images, own=own), labels[own]
            else:
                x = prepare(images)
            with place.autocast():  # not of colours
                logits = classifier(x).float()
            if weights is None:
                loss_sum += cross_entropy(logits, labels, reduction="sum")
            else:
                loss_sum += (cross_entropy(logits, labels, reduction="none") * weights[labels]).sum()
            right_of += torch.bincount(labels[logits.argmax(1) == labels], minlength=len(of_class))
    if ranks:
        loss_sum, right_of = ranks.sum(loss_sum), ranks.sum(right_of)
    there = of_class > 0
    recalls = right_of[there].double() / of_class[there]
    return loss_sum.item() / len(split), right_of.sum().item() / len(split), recalls.mean().item()
