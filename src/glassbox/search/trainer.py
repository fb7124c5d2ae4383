"""A worker of the search: it trains one trial at a time and reports each epoch. It does not import Optuna."""

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from glassbox import models
from glassbox.config.augment import Augment
from glassbox.config.train import judged_by
from glassbox.config.tune import Tune
from glassbox.core.errors import UserError
from glassbox.core.seeds import derive
from glassbox.data.store import Description, Split
from glassbox.execution import compute
from glassbox.execution.compute import Place
from glassbox.provenance import fingerprint
from glassbox.search.hyperparameters import network_of, optimizer_of
from glassbox.training.loop import fit
from glassbox.training.optimizers import make_optimizer
from glassbox.training.recipe import Recipe
from glassbox.training.records import Epoch


@dataclass(frozen=True)
class Ready:
    """A worker requests the parameters of a trial."""


@dataclass(frozen=True)
class Ended:
    """The training of a trial is over."""

    reason: str  # why it failed, or ""


@dataclass(frozen=True)
class Trainer:
    """Everything that determines the result of a trial with given parameters.

    Attributes:
        settings: the section `tune`.
        known: the part of the network that is not searched.
        how: augmentation.
        seed: the study's seed.
        description: description of the data.
        place: device and precision.
        class_weights, sampling, watch: as in the section `train`, so that a trial is trained and compared as the final
            network is.
    """

    settings: Tune
    known: models.Spec
    how: Augment
    seed: int
    description: Description
    place: Place
    class_weights: str | None = None
    sampling: str = "shuffle"
    watch: str = "loss"

    @property
    def measure(self) -> str:
        """The measure by which trials are compared, see `judged_by`."""
        return judged_by(self.class_weights, self.sampling)

    def records(
        self, number: int, train: Split, validation: Split
    ) -> Generator[Ready | Epoch | Ended, dict[str, Any] | bool | None, None]:
        """Train a trial.

        Yields:
            `Ready`, answered by the trial's parameters under the paper's names; an `Epoch` after each epoch, answered
            by whether the trial is pruned; `Ended`.
        """
        params, reason = (yield Ready()), ""
        try:
            for epoch in self.epochs(number, params, train, validation):
                pruned = yield epoch
                if pruned:
                    break
        except (UserError, MemoryError, RuntimeError) as error:
            # NaN, an image pooled away, memory: this point of the space fails, the search continues.
            reason = " ".join(str(error).split())
            if not isinstance(error, UserError):
                if not compute.out_of_memory(error):
                    raise
                reason = f"out of memory: {reason}"
        if self.place.device.type == "cuda":
            torch.cuda.empty_cache()  # after the handler, since the error refers to the model
        yield Ended(reason[:500])

    def epochs(self, number: int, params: dict[str, Any], train: Split, validation: Split) -> Iterator[Epoch]:
        """The epochs of a trial's training."""
        seed = derive(self.seed, "tune", "trial", number)
        model = models.fresh(network_of(params, self.known), self.description, seed, self.place.device)
        recipe = Recipe(
            epochs=self.settings.epochs,
            batch_size=self.settings.batch_size,
            augment=self.how,
            seed=seed,
            patience=self.settings.patience,
            class_weights=self.class_weights,
            sampling=self.sampling,
            watch=self.watch,
            keep="last",  # the weights of a trial are not used
            section="tune",
        )
        yield from fit(model, train, validation, make_optimizer(model, optimizer_of(params)), recipe, place=self.place)


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
