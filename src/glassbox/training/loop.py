"""The training loop, as a generator: `for epoch in fit(...)` yields one record an epoch.

*tune* prunes on the records, *train* logs them, a test takes one and leaves. Where Keras, which the CNN paper used, and
PyTorch differ so much that results change, Keras is followed: weight penalties, RMSprop, what "no better" means.
"""

import copy
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch

from glassbox import models
from glassbox.config.augment import Augment
from glassbox.config.train import Train, is_balanced
from glassbox.core.errors import UserError
from glassbox.core.seeds import derive
from glassbox.data.batches import augment, to_float
from glassbox.data.store import Description, Split
from glassbox.execution.compute import Place, peak_memory, refusals
from glassbox.models import Classifier, Spec, fresh
from glassbox.provenance import resume
from glassbox.training import data_parallel
from glassbox.training.batching import balanced_order, batches, stream
from glassbox.training.losses import assess, balanced_weights, mean_loss
from glassbox.training.optimizers import OptimizerSettings, make_optimizer, weight_penalty
from glassbox.training.process_group import Ranks
from glassbox.training.records import Diverged, Epoch
from glassbox.training.schedules import OneCycle, Plateau, Schedule, make_schedule


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
            "-".join(filter(None, ("train", self.arm))),
            place,
            self.seed,
            self.data.digest,
            asdict(self.network),
            models.digest_of_weights(self.network),
            asdict(self.optimizer),
            self.settings,
            self.how,
        )

    def epochs(
        self,
        classifier: Classifier,
        train: Split,
        validation: Split,
        place: Place,
        checkpoint: resume.Saved,
        ranks: Ranks | None = None,
    ) -> Iterator[Epoch]:
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
            classifier,
            train.to(place.device),
            validation.to(place.device),
            make_optimizer(classifier, self.optimizer, s.weight_decay),
            place=place,
            epochs=s.epochs,
            batch_size=s.batch_size,
            how=self.how,
            patience=s.patience,
            watch=s.watch,
            min_delta=s.min_delta,
            keep=s.keep,
            schedule=make_schedule(s),
            head_epochs=s.head_epochs,
            label_smoothing=s.label_smoothing,
            class_weights=s.class_weights,
            sampling=s.sampling,
            seed=derive(self.seed, "train", "batches"),
            checkpoint=checkpoint,
            ranks=ranks,
        )

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
    learner, whole = data_parallel.joined(classifier, ranks, place.compiled) if ranks else (classifier, None)
    network = torch.compile(learner, dynamic=False, mode=mode) if place.compiled else learner
    sizes = [len(part) for part in batches(torch.arange(n), batch_size)]
    plateau = cycle = None
    if isinstance(schedule, Plateau):
        # PyTorch lowers the rate in the epoch after `patience` bad ones, Keras in the last of them.
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer,
            factor=schedule.factor,
            patience=schedule.patience - 1,
            threshold=min_delta,
            threshold_mode="abs",
            min_lr=schedule.minimum,
            eps=0.0,
        )
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
            epoch,
            train_loss,
            train_accuracy,
            validation_loss,
            validation_accuracy,
            penalty,
            rate,
            is_best,
            end - start,
            n / (trained - start),
            memory,
            balanced_accuracy,
        )
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
