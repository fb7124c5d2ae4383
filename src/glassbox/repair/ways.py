"""Ways to mend a shortcut, on the ordinary training loop: other training images, another loss, or the last layer alone.

Images and candidates are those of `audit.candidates`. A way changes the training images once, before the further
training.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from glassbox.audit.candidates import PROPERTIES, Candidate, Property, Region, elsewhere
from glassbox.audit.search import carriers
from glassbox.core.errors import UserError
from glassbox.data.batches import to_float
from glassbox.data.store import Split
from glassbox.models import Classifier


def check(way: str, candidates: Sequence[Candidate], classifier: Classifier) -> None:
    """Check that a way can mend these candidates.

    Raises:
        UserError: it cannot.
    """
    if way == "penalty" and (found := next((one for one in candidates if isinstance(one, Property)), None)):
        raise UserError(
            f"repair.ways has penalty, but {found.name} is a property of whole images, which has no pixels of its own: "
            "take penalty out"
        )
    if way == "last_layer" and not classifier.heads:
        raise UserError("repair.ways has last_layer, but the last layer of this network is not known: take it out")


def changed(way: str, train: Split, candidates: Sequence[Candidate], rng: np.random.Generator) -> Split:
    """The training images of a way; as they are where it does not change them."""
    images, labels = train.images.numpy(), train.labels.numpy()
    for one in candidates if way in IMAGES else ():
        images = IMAGES[way](images, labels, one, rng)
    return replace(train, images=torch.from_numpy(np.ascontiguousarray(images)))


def randomised(images: np.ndarray, labels: np.ndarray, one: Candidate, rng: np.random.Generator) -> np.ndarray:  # noqa: ARG001
    """Images (N, H, W, 3) uint8 in which the candidate is independent of the class: each has that of another one."""
    return one.changed(images, images[rng.permutation(len(images))])


def removed(images: np.ndarray, labels: np.ndarray, one: Candidate, rng: np.random.Generator) -> np.ndarray:
    """The candidate taken from images of its class: they get that of images of other classes."""
    own, others = carriers(one, images, labels)
    result = images.copy()
    result[own] = one.changed(images[own], images[rng.choice(others, len(own))])
    return result


def pasted(images: np.ndarray, labels: np.ndarray, one: Candidate, rng: np.random.Generator) -> np.ndarray:
    """The candidate put on all images, from those of its class."""
    own, _ = carriers(one, images, labels)
    return one.changed(images, images[rng.choice(own, len(images))])


def balanced(images: np.ndarray, labels: np.ndarray, one: Candidate, rng: np.random.Generator) -> np.ndarray:
    """Of every class one half with the candidate and one half without it. Images that are in the right half by
    themselves stay as they are; the others get the candidate, or lose it, by images that have it, or not."""
    own, others = carriers(one, images, labels)
    has = np.zeros(len(images), bool)
    has[own] = True
    wanted = np.zeros(len(images), bool)
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        wanted[rows[: len(rows) // 2]] = True
    result = images.copy()
    for rows, donors in ((np.flatnonzero(wanted & ~has), own), (np.flatnonzero(~wanted & has), others)):
        result[rows] = one.changed(images[rows], images[rng.choice(donors, len(rows))])
    return result


IMAGES: dict[str, Callable[..., np.ndarray]] = {
    "randomise": randomised,
    "remove": removed,
    "paste": pasted,
    "last_layer": balanced,
}


def moved(
    images: np.ndarray, labels: np.ndarray, candidates: Sequence[Candidate], rng: np.random.Generator
) -> np.ndarray:
    """Images on which each candidate points to the wrong class: those of its class lose it, all others get it."""
    for one in candidates:
        own, others = carriers(one, images, labels)
        rest = labels != one.label
        with_it = images[rng.choice(own, int(rest.sum()))] if len(own) else images[rest]
        result = images.copy()
        result[rest] = one.changed(images[rest], with_it)
        if len(others):
            result[~rest] = one.changed(images[~rest], images[rng.choice(others, int((~rest).sum()))])
        images = result
    return images


def at_random(candidates: Sequence[Candidate], rng: np.random.Generator) -> list[Candidate]:
    """Others of the same kind and size: a region elsewhere, or another property."""
    drawn: list[Candidate] = []
    for one in candidates:
        if isinstance(one, Region):
            drawn.append(Region(one.label, "at random", elsewhere(one.mask, rng)))
        else:
            names = [name for name in PROPERTIES if name != one.name]
            drawn.append(Property(one.label, "at random", names[int(rng.integers(len(names)))]))
    return drawn


@dataclass
class Penalty:
    """The penalty of "right for the right reasons" (Ross et al. 2017, equation 1): the squares of the gradient of the
    sum of all log-probabilities by the pixels of a region, summed over the region, mean over a batch, times a factor.

    It is taken on a batch of its own, of images as they are: after a random flip or crop the region would lie
    elsewhere.

    Attributes:
        classifier: the one that learns.
        train: images on its device.
        mask: (H, W) bool.
        factor: of the penalty.
        batch_size: images in it.
        generator: draws them, on their device.
    """

    classifier: Classifier
    train: Split
    mask: torch.Tensor
    factor: float
    batch_size: int
    generator: torch.Generator

    def __call__(self) -> torch.Tensor:
        size, device = (self.batch_size,), self.train.images.device
        rows = torch.randint(len(self.train), size, generator=self.generator, device=device)
        x = to_float(self.train.images[rows]).requires_grad_()
        log_p = self.classifier(x).log_softmax(dim=1)
        (gradient,) = torch.autograd.grad(log_p.sum(), x, create_graph=True)
        return self.factor * (gradient * self.mask).square().sum(dim=(1, 2, 3)).mean()
