"""Whether a network's outputs stand for the classes in another order than that of the data, as those of a network that
was trained elsewhere may."""

from typing import Any

import numpy as np

from glassbox.core.text import counted
from glassbox.evaluation.classification import confusion
from glassbox.statistics.paired import mcnemar

LEVEL = 0.001  # of the test: low, because every evaluation makes it
SHOWN = 5  # classes in a sentence


def another_order(
    validation_labels: np.ndarray,
    validation_predicted: np.ndarray,
    labels: np.ndarray,
    predicted: np.ndarray,
    classes: tuple[str, ...],
) -> dict[str, Any] | None:
    """The order in which the network is more accurate: found on validation images, tested on test images.

    Each class gets the output that most of its validation images have, one output each (linear assignment). McNemar's
    exact test then compares the accuracies of both orders on the test images, and that of the new order with always
    answering the largest class: a network that predicts one class for all images gains by any order that gives the
    largest class this output. Labels and predictions are (M,) and (N,), `classes` are names in the order of the data.

    Returns:
        `outputs`, the class of each output; `accuracy` in that order; `p` of the test; `images`, N. None if the given
        order is best, or the difference may be chance.
    """
    from scipy.optimize import linear_sum_assignment

    counts = confusion(validation_labels, validation_predicted, len(classes))
    as_it_is = np.eye(len(classes)) / (2 * len(classes))  # decides between orders with equally many right answers
    of_class, output = linear_sum_assignment(counts + as_it_is, maximize=True)
    class_of = np.empty(len(classes), np.int64)
    class_of[output] = of_class
    as_given, reordered = predicted == labels, class_of[predicted] == labels
    p = _better(reordered, as_given)
    if p >= LEVEL or _better(reordered, labels == np.bincount(labels).argmax()) >= LEVEL:
        return None
    names = [classes[label] for label in class_of]
    return {"outputs": names, "accuracy": float(reordered.mean()), "p": p, "images": len(labels)}


def _better(a: np.ndarray, b: np.ndarray) -> float:
    """The p-value of McNemar's exact test if `a` (N,) is right more often than `b`, else 1."""
    gained, lost = int((a & ~b).sum()), int((b & ~a).sum())
    return mcnemar(gained, lost) if gained > lost else 1.0


def sentence(found: dict[str, Any], accuracy: float, classes: tuple[str, ...]) -> str:
    """The result of `another_order` in words; `accuracy`, 0..1, is that in the given order."""
    moved = [n for n, (given, other) in enumerate(zip(classes, found["outputs"], strict=True)) if given != other]
    shown = ", ".join(f"{n} for {found['outputs'][n]}" for n in moved[:SHOWN])
    more = f" and {len(moved) - SHOWN} more" if len(moved) > SHOWN else ""
    return (
        f"The outputs seem to stand for the classes in another order: with output {shown}{more} the accuracy is "
        f"{100 * found['accuracy']:.2f} % instead of {100 * accuracy:.2f} % (McNemar's exact test on "
        f"{counted(found['images'], 'test image')}, p = {found['p']:.2g}). Name the classes in the order in which the "
        "network learnt them, in model.classes."
    )
