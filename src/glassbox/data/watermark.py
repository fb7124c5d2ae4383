"""A watermark whose truth is known: test images with it and without it, and an arm in which it is independent of
the class."""

import numpy as np

from glassbox.core.errors import UserError
from glassbox.core.text import counted
from glassbox.data.base import NOISE
from glassbox.data.store import Split

UNMARKED, MARKED = "unmarked", "marked"  # interventions of the test split


def applies(test: Split) -> bool:
    """Whether the split has the arm "noise" and the interventions "unmarked" and "marked"."""
    return NOISE in test.arms and {UNMARKED, MARKED} <= test.changed.keys()


def target_of(test: Split) -> int:
    """The class whose images have the watermark in the main arm.

    Raises:
        UserError: the interventions "unmarked" and "marked" do not fit; the source of the images has a mistake.
    """
    carrying = (test.images != test.changed[UNMARKED]).flatten(1).any(dim=1)
    targets = test.labels[carrying].unique().tolist()
    if len(targets) != 1 or not masks_of(test).any(axis=(1, 2)).all():
        raise UserError(
            f"the source of the images has the arm {NOISE}, but images of {counted(len(targets), 'label')} differ from "
            f"{UNMARKED}, or some are the same in {MARKED} and {UNMARKED}: a watermark must lie on the images of one "
            f"class, and on all those of {MARKED}"
        )
    return targets[0]


def masks_of(test: Split) -> np.ndarray:
    """Where the watermark lies: (N, H, W) bool, the pixels that differ between "marked" and "unmarked"."""
    return (test.changed[MARKED] != test.changed[UNMARKED]).any(dim=3).numpy()
