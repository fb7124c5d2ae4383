"""The training loop, as a generator: `for epoch in fit(...)` yields one record an epoch.

*tune* prunes on the records, *train* logs them. If results in Keras, which the CNN paper used, differ from PyTorch's,
Keras is followed: weight penalties, RMSprop, what "no better" means.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from glassbox import models
from glassbox.config.hyperparameters import Hyperparameters
from glassbox.core.errors import UserError
from glassbox.core.seeds import derive
from glassbox.data.batches import augment, to_float
from glassbox.data.store import Description, Split
from glassbox.execution.compute import Place, peak_memory, refusals
from glassbox.models import Classifier, fresh
from glassbox.provenance import resume
from glassbox.training import data_parallel
from glassbox.training.batching import balanced_order, batches, stream
from glassbox.training.early_stopping import EarlyStopping
from glassbox.training.losses import Assessment, assess, balanced_weights, mean_loss
from glassbox.training.optimizers import make_optimizer, weight_penalty
from glassbox.training.precision import suited
from glassbox.training.process_group import ALONE, Ranks
from glassbox.training.recipe import Recipe, recipe_of
from glassbox.training.records import Diverged, Epoch
from glassbox.training.schedules import OneCycle, Plateau


@dataclass(frozen=True)
class Training:
    """A training of the stage *train*: all that decides it, except images and place."""

    hyperparameters: Hyperparameters  # with the values that were given or found
    data: Description  # its statistics normalise colours
    seed: int  # the study's seed
    # Name of a version of the images in `data`. Arms begin with the same weights, and take images in the same order.
    arm: str = ""

    def fresh(self, device: torch.device) -> Classifier:
        """The classifier with its starting weights."""
        seed, trained = derive(self.seed, "train", "weights"), self.hyperparameters.train.epochs != 0
        return fresh(self.hyperparameters.model, self.data, seed, device, trained=trained)

    def checkpoint(self, place: Place) -> resume.Checkpoint:
        """The file of its state."""
        return resume.checkpoint(
            "-".join(filter(None, ("train", self.arm))),
            place,
            self.seed,
            self.data.digest,
            self.hyperparameters,
            models.digest_of_weights(self.hyperparameters.model),
        )

    def epochs(
        self,
        classifier: Classifier,
        train: Split,
        validation: Split,
        place: Place,
        checkpoint: resume.Saved,
        ranks: Ranks = ALONE,
    ) -> Iterator[Epoch]:
        """Train a classifier from `fresh`, which is on `place.device`; see `fit`. The images may be on any device."""
        settings = self.hyperparameters.train
        recipe = recipe_of(settings, self.hyperparameters.augment, derive(self.seed, "train", "batches"))
        optimizer = make_optimizer(classifier, settings) if recipe.epochs else None
        splits = train.to(place.device), validation.to(place.device)
        return fit(classifier, *splits, optimizer, recipe, place=place, checkpoint=checkpoint, ranks=ranks)

    @staticmethod
    def ranks() -> Ranks:
        """The ranks of this process's group."""
        return Ranks.here()

    @staticmethod
    def record(values: dict[str, Any]) -> Epoch:
        """An epoch from its fields."""
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
    optimizer: torch.optim.Optimizer | None,
    recipe: Recipe,
    *,
    place: Place,
    checkpoint: resume.Saved | None = None,
    ranks: Ranks = ALONE,
    extra_loss: Callable[[], torch.Tensor] | None = None,
) -> Iterator[Epoch]:
    """Train with early stopping; when the generator ends, the best weights are restored, unless the last are kept. With
    a moving average it is the average that is validated and kept.

    With a checkpoint, a training whose process ended continues after its last whole epoch, and ends with the same bits
    as one that ran through: weights, statistics, optimizer, schedule, early stopping and random numbers are restored.

    Several ranks do the work of one: each takes its share of the same batches, and the gradients, statistics of batch
    norm, losses and accuracies are those of whole batches, up to the last bits of sums. All ranks are called with the
    same arguments, except for the device and the checkpoint, make the same steps and yield the same records, except for
    the times.

    Args:
        classifier: trained in place. It, its optimizer and the images (uint8) are on `place.device`.
        optimizer: of its weights; None where there are no epochs.
        checkpoint: state of this training, read once and written after each epoch; that of the first rank is used.
        extra_loss: called at each step; the number that it returns is added to the loss, and not recorded. A checkpoint
            does not hold its state.

    Yields:
        One `Epoch` after each epoch; first those in the checkpoint. Of no epochs, one with the number 0: the classifier
        as it is.

    Raises:
        Diverged: a loss is not finite, on all ranks alike.
        UserError: the device refuses, see `compute.refusals`, or several ranks are to use CUDA graphs.
    """
    if ranks.size > 1 and place.graphs:
        raise UserError(
            f"compute.compile is cuda_graphs, but {ranks.size} processes train together, which wait for one another "
            "within a step: use false or true"
        )
    place = suited(place, classifier, train.images.shape[1])
    run = _Run(classifier, train, validation, optimizer, recipe, place, ranks, extra_loss)
    if recipe.epochs == 0:
        yield run.as_it_is()
        return
    if ranks.rank > 0:
        checkpoint = None
    records = run.restore(checkpoint)
    yield from records
    for epoch in range(len(records) + 1, recipe.epochs + 1):
        if run.early_stopping.stops:
            break
        records.append(run.epoch(epoch))
        if checkpoint:
            checkpoint.save(run.state(records))
        yield records[-1]
    if run.average:
        classifier.load_state_dict(run.validated.state_dict())
    run.early_stopping.restore(classifier)


class _Run:
    """A training in progress. Arguments: see `fit`."""

    def __init__(
        self,
        classifier: Classifier,
        train: Split,
        validation: Split,
        optimizer: torch.optim.Optimizer | None,
        recipe: Recipe,
        place: Place,
        ranks: Ranks,
        extra_loss: Callable[[], torch.Tensor] | None,
    ) -> None:
        torch.manual_seed(recipe.seed)  # dropout's
        self.generator = torch.Generator(place.device).manual_seed(recipe.seed)  # of order and augmentation
        self.classifier, self.optimizer, self.recipe = classifier, optimizer, recipe
        self.train, self.validation, self.extra_loss = train, validation, extra_loss
        self.place, self.ranks = place, ranks
        self.augment = partial(augment, how=recipe.augment, generator=self.generator, input_size=classifier.input_size)
        self.flipped = self._flipped()
        self.class_weights = balanced_weights(train.labels) if recipe.class_weights else None
        self.learner, self.batch = data_parallel.joined(classifier, ranks, place.compiled)
        self.network: torch.nn.Module = self.learner
        if place.compiled:
            # A step's shapes are fixed but for the last one's: two graphs are cheaper than one for any size.
            mode = "reduce-overhead" if place.graphs else None  # PyTorch's name for CUDA graphs
            self.network = torch.compile(self.learner, dynamic=False, mode=mode)
        self.average = self._average()
        self.validated: Classifier = self.average.module if self.average else classifier
        self.sizes = [len(part) for part in batches(torch.arange(len(train)), recipe.batch_size)]
        self.parts: dict[str, Any] = {"classifier": classifier, "optimizer": optimizer}  # of a checkpoint
        if self.average:
            self.parts["average"] = self.average
        self.early_stopping = self.parts["early_stopping"] = EarlyStopping(recipe)
        self.plateau = self.cycle = None
        if isinstance(recipe.schedule, Plateau) and recipe.epochs:
            self.plateau = self.parts["schedule"] = recipe.schedule.scheduler(optimizer, recipe.min_delta)
        elif isinstance(recipe.schedule, OneCycle) and recipe.epochs:
            self.cycle = self.parts["schedule"] = recipe.schedule.scheduler(optimizer, recipe.epochs * len(self.sizes))

    def _flipped(self) -> torch.Tensor | None:
        """Which images (N,) are mirrored in the first epoch, and in every other one after it (alternating flip, Jordan
        2024); None where each epoch draws them anew."""
        if self.recipe.augment.flip != "alternating":
            return None
        drawn = torch.rand(len(self.train), generator=self.generator, device=self.place.device)
        return self.ranks.follow(drawn) < 0.5

    def _average(self) -> AveragedModel | None:
        if self.recipe.ema_decay is None:
            return None
        moving = get_ema_multi_avg_fn(self.recipe.ema_decay)
        return AveragedModel(self.classifier, multi_avg_fn=moving, use_buffers=True)

    def epoch(self, number: int) -> Epoch:
        """Train for an epoch, and validate."""
        start = time.perf_counter()
        rate = self.optimizer.param_groups[0]["lr"]
        train_loss, train_accuracy = self._train_epoch(number)
        trained = time.perf_counter()
        scores = self._validated()
        loss = scores.loss
        penalty = weight_penalty(self.validated)
        if not math.isfinite(train_loss + loss + penalty):
            raise Diverged(f"the loss is not a number after epoch {number}: lower train.learning_rate ({rate:.3g})")
        watched = loss + penalty if self.recipe.watch == "penalized_loss" else loss
        is_best = self.early_stopping.update(watched, number, self.validated)
        if self.plateau:
            self.plateau.step(watched)
        return Epoch(
            epoch=number,
            train_loss=train_loss,
            train_accuracy=train_accuracy,
            validation_loss=loss,
            validation_accuracy=scores.accuracy,
            weight_penalty=penalty,
            learning_rate=rate,
            is_best=is_best,
            seconds=time.perf_counter() - start,
            images_per_second=len(self.train) / (trained - start),
            peak_memory=self.ranks.highest(peak_memory(self.place.device), self.place.device),
            validation_balanced_accuracy=scores.balanced_accuracy,
            validation_macro_f1=scores.macro_f1,
        )

    def as_it_is(self) -> Epoch:
        """Validate the classifier without any training."""
        start = time.perf_counter()
        scores = self._validated()
        return Epoch(
            epoch=0,
            train_loss=math.nan,
            train_accuracy=math.nan,
            validation_loss=scores.loss,
            validation_accuracy=scores.accuracy,
            weight_penalty=weight_penalty(self.classifier),
            learning_rate=math.nan,
            is_best=True,
            seconds=time.perf_counter() - start,
            images_per_second=math.nan,
            peak_memory=self.ranks.highest(peak_memory(self.place.device), self.place.device),
            validation_balanced_accuracy=scores.balanced_accuracy,
            validation_macro_f1=scores.macro_f1,
        )

    def _validated(self) -> Assessment:
        prepare = self.augment if self.recipe.augment.validation_and_test else to_float
        weights = balanced_weights(self.validation.labels) if self.recipe.is_balanced else None
        return assess(self.validated, self.validation, self.place, prepare, self.ranks, weights)

    def _train_epoch(self, number: int) -> tuple[float, float]:
        """Mean loss (nats) and accuracy over the epoch's batches."""
        recipe, ranks, device = self.recipe, self.ranks, self.place.device
        loss_sum = torch.zeros((), device=device)  # summed on the device: reading it at each step would wait for it
        correct = torch.zeros((), dtype=torch.int64, device=device)
        self.learner.train()
        if recipe.head_epochs:
            self.learner.train_head_only(number <= recipe.head_epochs)
        # Anew for each epoch, as after an interruption: its order of adding gradients depends on its steps so far.
        forward = ranks.averaging(self.network)
        order = ranks.follow(self._order())  # GPUs of two kinds draw different ones
        side = self.classifier.input_size or self.train.images.shape[1]
        with refusals(device, "train.batch_size", recipe.batch_size, side):
            flipped = None if self.flipped is None else self.flipped ^ (number % 2 == 0)
            shares = stream(self.train, order, recipe.batch_size, self.augment, ranks, flipped)
            for size, (x, y) in zip(self.sizes, shares, strict=True):  # (B, 3, H, W), (B,)
                self.batch.images = size
                if self.place.graphs:
                    torch.compiler.cudagraph_mark_step_begin()  # the last step's results may be overwritten
                with self.place.autocast():
                    logits = forward(x)  # (B, K)
                loss = mean_loss(logits.float(), y, size, ranks, recipe.label_smoothing, self.class_weights)
                self.optimizer.zero_grad()
                (loss + self.extra_loss() if self.extra_loss else loss).backward()
                self.optimizer.step()
                if self.average:
                    self.average.update_parameters(self.classifier)
                if self.cycle:
                    self.cycle.step()
                plain = loss.detach()
                if recipe.label_smoothing:
                    plain = mean_loss(logits.detach().float(), y, size, ranks, weights=self.class_weights)
                loss_sum += plain * size
                correct += (logits.argmax(1) == y).sum()
        n = len(self.train)
        return (ranks.sum(loss_sum) / ranks.size).item() / n, ranks.sum(correct).item() / n

    def _order(self) -> torch.Tensor:
        """Rows (N,) of an epoch."""
        if self.recipe.sampling == "balanced":
            return balanced_order(self.train.labels, self.generator)
        return torch.randperm(len(self.train), generator=self.generator, device=self.place.device)

    def state(self, records: list[Epoch]) -> dict[str, Any]:
        """What a checkpoint holds."""
        state: dict[str, Any] = {name: part.state_dict() for name, part in self.parts.items()}
        state["records"] = [asdict(record) for record in records]
        state |= {"dropout": torch.get_rng_state(), "generator": self.generator.get_state()}
        if self.place.device.type == "cuda":
            state["dropout_cuda"] = torch.cuda.get_rng_state(self.place.device)
        return state

    def restore(self, checkpoint: resume.Saved | None) -> list[Epoch]:
        """Continue from the first rank's checkpoint; returns the records in it, or none if it is empty."""
        state = self.ranks.of_first(checkpoint.load() if checkpoint else None, self.place.device)
        if state is None:
            return []
        for name, part in self.parts.items():
            part.load_state_dict(state[name])
        torch.set_rng_state(state["dropout"])
        self.generator.set_state(state["generator"])
        if self.place.device.type == "cuda":
            torch.cuda.set_rng_state(state["dropout_cuda"], self.place.device)
        if checkpoint:
            checkpoint.tell(f"the training goes on after epoch {len(state['records'])}")
        return [Epoch(**record) for record in state["records"]]
