"""Schedules of the learning rate."""

from dataclasses import dataclass

from torch.optim import Optimizer
from torch.optim.lr_scheduler import OneCycleLR, ReduceLROnPlateau

from glassbox.config.train import Train


@dataclass(frozen=True)
class Plateau:
    """After `patience` epochs without a better validation loss multiply the rate by `factor`, but not below
    `minimum`."""

    factor: float
    patience: int
    minimum: float

    def scheduler(self, optimizer: Optimizer, min_delta: float) -> ReduceLROnPlateau:
        """PyTorch's, to be stepped with the loss after each epoch, which is better if it falls by `min_delta`."""
        return ReduceLROnPlateau(
            optimizer,
            factor=self.factor,
            patience=self.patience - 1,  # PyTorch lowers the rate in the epoch after, Keras in the last of them
            threshold=min_delta,
            threshold_mode="abs",
            min_lr=self.minimum,
            eps=0.0,
        )


@dataclass(frozen=True)
class OneCycle:
    """The one-cycle schedule (Smith & Topin 2017), step by step: over the share `warmup` of all steps the rate rises
    from 1/25 of the optimizer's to the optimizer's, then falls to 1/10,000 of where it began, both along a cosine."""

    warmup: float

    def scheduler(self, optimizer: Optimizer, steps: int) -> OneCycleLR:
        """PyTorch's, to be stepped after each of `steps` batches."""
        highest = [group["lr"] for group in optimizer.param_groups]
        return OneCycleLR(optimizer, highest, steps, pct_start=self.warmup, cycle_momentum=False)


Schedule = Plateau | OneCycle


def make_schedule(settings: Train) -> Schedule | None:
    """The schedule that the section `train` names; None for a constant rate."""
    if settings.schedule == "plateau":
        return Plateau(settings.lr_factor, settings.lr_patience, settings.min_learning_rate)
    return OneCycle(settings.warmup) if settings.schedule == "one_cycle" else None
