"""Schedules of the learning rate."""

from dataclasses import dataclass

from glassbox.config.train import Train


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
