"""A worker of the search: it trains one trial at a time and reports each epoch. It does not import Optuna."""

import statistics
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from glassbox import models
from glassbox.config.hyperparameters import Hyperparameters
from glassbox.config.train import judged_by
from glassbox.config.tune import Tune
from glassbox.core.errors import UserError
from glassbox.core.seeds import derive
from glassbox.data.store import Description, Split
from glassbox.execution import compute
from glassbox.execution.compute import Place
from glassbox.provenance import fingerprint
from glassbox.search.hyperparameters import of_trial
from glassbox.training.loop import fit
from glassbox.training.optimizers import make_optimizer
from glassbox.training.recipe import recipe_of
from glassbox.training.records import Epoch


@dataclass(frozen=True)
class Ready:
    """A worker requests the parameters of a trial."""


@dataclass(frozen=True)
class Ended:
    """The training of a trial is over."""

    reason: str  # why it failed, or ""
    cost: float | None = None  # the second objective, if there is one


@dataclass(frozen=True)
class Trainer:
    """Everything that determines the result of a trial with given parameters. It trains as *train* would, for at most
    `settings.epochs`, and stops after `settings.patience`.

    Attributes:
        settings: the section `tune`.
        known: the hyperparameters of params.yaml. A search replaces those that it draws, see `to_search`.
        seed: the study's seed.
        description: description of the data.
        place: device and precision.
    """

    settings: Tune
    known: Hyperparameters
    seed: int
    description: Description
    place: Place

    @property
    def measure(self) -> str:
        """The measure by which trials are compared: a field of `Epoch`."""
        if self.settings.objective == "accuracy":
            return judged_by(self.known.train.class_weights, self.known.train.sampling)
        return f"validation_{self.settings.objective}"

    def records(
        self, number: int, train: Split, validation: Split
    ) -> Generator[Ready | Epoch | Ended, dict[str, Any] | bool | None, None]:
        """Train a trial.

        Yields:
            `Ready`, answered by the trial's parameters by key; an `Epoch` after each epoch, answered by whether the
            trial is pruned; `Ended`.
        """
        params, reason, cost = (yield Ready()), "", None
        try:
            hyperparameters = of_trial(self.known, params)
            for epoch in self.epochs(number, hyperparameters, train, validation):
                pruned = yield epoch
                if pruned:
                    break
            if self.settings.second_objective:
                model = models.fresh(hyperparameters.model, self.description, 0, self.place.device)
                cost = COSTS[self.settings.second_objective](model, self.description.image_size)
        except (UserError, MemoryError, RuntimeError) as error:
            # NaN, an image pooled away, memory: this point of the space fails, the search continues.
            reason = " ".join(str(error).split())
            if not isinstance(error, UserError):
                if not compute.out_of_memory(error):
                    raise
                reason = f"out of memory: {reason}"
        if self.place.device.type == "cuda":
            torch.cuda.empty_cache()  # after the handler, since the error refers to the model
        yield Ended(reason[:500], cost)

    def epochs(self, number: int, hyperparameters: Hyperparameters, train: Split, validation: Split) -> Iterator[Epoch]:
        """The epochs of a trial's training."""
        seed, settings = derive(self.seed, "tune", "trial", number), hyperparameters.train
        epochs = min(settings.epochs, self.settings.epochs)
        short = settings.model_copy(
            update={
                "epochs": epochs,
                "head_epochs": min(settings.head_epochs, epochs),
                "patience": self.settings.patience,
                "keep": "last",  # the weights of a trial are not used
            }
        )
        model = models.fresh(hyperparameters.model, self.description, seed, self.place.device)
        recipe = recipe_of(short, hyperparameters.augment, seed)
        yield from fit(model, train, validation, make_optimizer(model, short), recipe, place=self.place)


def _parameters(model: models.Classifier, _: int) -> float:
    return float(sum(parameter.numel() for parameter in model.parameters()))


@torch.inference_mode()
def _forward_ms(model: models.Classifier, side: int) -> float:
    """Median of 20 forward passes of one image, after three that are not counted."""
    device = models.device_of(model)
    image, times = torch.rand(1, 3, side, side, device=device), []
    with models.evaluating(model):
        for _ in range(23):
            start = time.perf_counter()
            model(image).sum().item()  # waits for the device
            times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times[3:])


COSTS = {"parameters": _parameters, "forward_ms": _forward_ms}  # by `tune.second_objective`


def serve(
    trainer: Trainer, read: Callable[[str], Split], threads: int, module: str, code: str
) -> Callable[[int], Iterator[Ready | Epoch | Ended]]:
    """Make this process a worker.

    Args:
        trainer: trains.
        read: returns the split "train" or "validation".
        threads: PyTorch's threads.
        module, code: module of the search, and the digest of its code.

    Returns:
        A function of a trial's number, see `Trainer.records`.

    Raises:
        UserError: the code has changed, or the data do not fit in memory.
    """
    if fingerprint.digest(module) != code:
        raise UserError("the source files of the search were changed while it ran: run it again")
    trainer.place.settle()
    torch.set_num_threads(threads)
    try:
        train, validation = (read(split).to(trainer.place.device) for split in ("train", "validation"))
    except (MemoryError, RuntimeError) as error:
        if not compute.out_of_memory(error):
            raise
        workers = trainer.settings.workers
        raise UserError(f"the images do not fit in memory {workers} times (tune.workers): {error}") from None
    return partial(trainer.records, train=train, validation=validation)
