"""What a class may lean on: regions of the image, found in maps, and properties of the whole image.

A candidate can be taken from images and put on others, and has a control of the same size: the region elsewhere, or the
property changed by as much the other way round.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import scipy
from sklearn.metrics import roc_auc_score

LEAST_Z = 4.0  # standard errors by which a pixel's relevance must exceed that in other classes
KEPT = 0.8  # share of the excess of relevance that a region holds
LARGEST = 0.25  # share of the image that a region takes at most
SMALLEST = 4  # pixels of a region
ALIKE = 0.5  # intersection over union from which two regions are one candidate
WITHIN = 0.8  # share of a region inside another one, from which it is a part of that
TRIES = 20  # places for a control region, of which the one is taken that overlaps the region least
LEAST_AUC = 0.65  # of a property, as a rule for the class: with less it is not tested


@dataclass(frozen=True)
class Region:
    """A region of images of a class.

    Attributes:
        label: the class.
        source: the maps and images that show it.
        mask: (H, W) bool.
        carriers: share of the class whose relevance lies there more than that of nearly all other images.
        template: (H, W, 3), by how much the pixels of the mask as it was found differ between these carriers and images
            of other classes, on average, and 0 elsewhere; None where that is not known.
        threshold: see `carried_by`.
    """

    label: int
    source: str
    mask: np.ndarray
    carriers: float = 1.0
    template: np.ndarray | None = None
    threshold: float = -np.inf

    @property
    def words(self) -> str:
        """Where it lies, and its share of the image."""
        return f"the {place(self.mask)} ({100 * self.mask.mean():.1f} % of the image)"

    def carried_by(self, images: np.ndarray) -> np.ndarray:
        """Which of the images (N, H, W, 3) uint8 show there what the carriers show, (N,) bool: their pixels' product
        with the template is above the threshold, as in few images of other classes; the network plays no part."""
        if self.template is None:
            return np.ones(len(images), bool)
        return likeness(images, self.template) > self.threshold

    def widened(self, margin: int) -> "Region":
        """The region with all pixels within `margin` of it: maps show the edges of what they find unsharply."""
        return replace(self, mask=scipy.ndimage.binary_dilation(self.mask, iterations=margin)) if margin else self

    def changed(self, images: np.ndarray, donors: np.ndarray) -> np.ndarray:
        """Images (N, H, W, 3) uint8 with the region of `donors`."""
        return np.where(self.mask[..., None], donors, images)

    def control(self, images: np.ndarray, donors: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The same with a region of that size and shape elsewhere."""
        return np.where(elsewhere(self.mask, rng)[..., None], donors, images)


@dataclass(frozen=True)
class Property:
    """A property of all images of the class `label` by which they differ from others; `name` is one of `PROPERTIES`."""

    label: int
    source: str
    name: str

    @property
    def words(self) -> str:
        """The property, and what has it."""
        return f"the {self.name}" if " of the " in self.name else f"the {self.name} of the whole image"

    def carried_by(self, images: np.ndarray) -> np.ndarray:
        """Every image has some value of it: (N,) bool."""
        return np.ones(len(images), bool)

    def changed(self, images: np.ndarray, donors: np.ndarray) -> np.ndarray:
        """Images (N, H, W, 3) uint8 with the value that `donors` have."""
        measure, change = PROPERTIES[self.name]
        return change(images, measure(images), measure(donors))

    def control(self, images: np.ndarray, donors: np.ndarray, _: np.random.Generator) -> np.ndarray:
        """Changed by as much in the other direction."""
        measure, change = PROPERTIES[self.name]
        own = measure(images)
        return change(images, own, np.maximum(2 * own - measure(donors), 0))


Candidate = Region | Property


def regions(own: np.ndarray, others: np.ndarray) -> list[np.ndarray]:
    """Regions (H, W) bool in which images of a class have more of their relevance than images of other classes: all
    such pixels, as far as they hold `KEPT` of the excess, and each of their connected parts.

    Args:
        own, others: (N, H, W) and (M, H, W), shares of relevance, see `strategies.relevance_shares`.
    """
    smooth = [scipy.ndimage.uniform_filter(shares, (0, 3, 3)) for shares in (own, others)]
    excess = smooth[0].mean(axis=0) - smooth[1].mean(axis=0)
    error = np.sqrt(sum(shares.var(axis=0) / len(shares) for shares in smooth))
    excess[excess <= LEAST_Z * error] = 0
    if not excess.any():
        return []
    order = np.argsort(-excess, axis=None, kind="stable")
    held = np.cumsum(excess.flat[order]) / excess.sum()
    n = min(int(np.searchsorted(held, KEPT)) + 1, int(LARGEST * excess.size))
    mask = np.zeros(excess.shape, bool)
    mask.flat[order[:n]] = True
    mask &= excess > 0
    parts, count = scipy.ndimage.label(mask)
    found = [mask, *(parts == part for part in range(1, count + 1))] if count > 1 else [mask]
    return [one for one in found if one.sum() >= SMALLEST]


def likeness(images: np.ndarray, template: np.ndarray) -> np.ndarray:
    """How much images (N, H, W, 3) uint8 are like a template (H, W, 3): (N,), the sum of their products."""
    known = template.any(axis=2)
    return (images[:, known] * template[known]).sum(axis=(1, 2))


def is_known(mask: np.ndarray, known: list[np.ndarray]) -> bool:
    """Whether a region is about the same as one of `known`."""
    return any((mask & other).sum() >= ALIKE * (mask | other).sum() for other in known)


def is_within(mask: np.ndarray, other: np.ndarray) -> bool:
    """Whether nearly all of a region lies in another one."""
    return bool((mask & other).sum() >= WITHIN * mask.sum())


def elsewhere(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A region (H, W) moved around the image, turned by a multiple of 90 degrees: of some places that are drawn, the
    one that overlaps the region least."""
    drawn = []
    for _ in range(TRIES):
        turned = np.rot90(mask, int(rng.integers(4)))
        drawn.append(np.roll(turned, rng.integers(mask.shape[0], size=2).tolist(), axis=(0, 1)))
    return min(drawn, key=lambda other: int((other & mask).sum()))


def place(mask: np.ndarray) -> str:
    """A region in words, like "lower left corner"."""
    side, inner = len(mask), mask & ~border(len(mask))
    y, x = (3 * np.argwhere(mask).mean(axis=0) // side).astype(int)
    if (y, x) == (1, 1) and inner.sum() < 0.2 * mask.sum():
        return "border"
    return (
        ("upper left corner", "top", "upper right corner"),
        ("left edge", "middle", "right edge"),
        ("lower left corner", "bottom", "lower right corner"),
    )[y][x]


def properties(images: np.ndarray, of_class: np.ndarray) -> list[str]:
    """Names of the properties by which the images (N, H, W, 3) uint8 of a class, (N,) bool, differ from others: the
    area under the ROC curve is `LEAST_AUC` or more, one way or the other."""
    found = []
    for name, (measure, _) in PROPERTIES.items():
        area = roc_auc_score(of_class, measure(images))
        if max(area, 1 - area) >= LEAST_AUC:
            found.append(name)
    return found


def brightness(images: np.ndarray) -> np.ndarray:
    """Mean of an image's pixels (N,), 0 to 255."""
    return images.mean(axis=(1, 2, 3), dtype=np.float64)


def contrast(images: np.ndarray) -> np.ndarray:
    """Standard deviation of an image's grey pixels (N,)."""
    return images.mean(axis=3, dtype=np.float64).std(axis=(1, 2))


def sharpness(images: np.ndarray) -> np.ndarray:
    """Standard deviation of an image's fine texture (N,): its pixels less their means over 3 x 3 pixels."""
    return (images - _smooth(images)).std(axis=(1, 2, 3))


def border_brightness(images: np.ndarray) -> np.ndarray:
    """Mean of the pixels of an image's border (N,), a tenth of its side wide."""
    return images[:, border(images.shape[1])].mean(axis=(1, 2), dtype=np.float64)


def border(side: int) -> np.ndarray:
    """The border (H, W) bool of an image."""
    width = max(1, side // 10)
    inside = np.zeros((side, side), bool)
    inside[width:-width, width:-width] = True
    return ~inside


def cast(channel: int) -> Callable[[np.ndarray], np.ndarray]:
    """Of a channel: its mean over that of all three (N,), 0 to 3."""

    def measure(images: np.ndarray) -> np.ndarray:
        return images[..., channel].mean(axis=(1, 2), dtype=np.float64) / np.maximum(brightness(images), 1)

    return measure


def _brighter(images: np.ndarray, own: np.ndarray, goal: np.ndarray) -> np.ndarray:
    return _pixels(images + (goal - own)[:, None, None, None])


def _scaled(images: np.ndarray, own: np.ndarray, goal: np.ndarray) -> np.ndarray:
    mean = brightness(images)[:, None, None, None]
    return _pixels(mean + (images - mean) * (goal / np.maximum(own, 1))[:, None, None, None])


def _sharper(images: np.ndarray, own: np.ndarray, goal: np.ndarray) -> np.ndarray:
    smooth = _smooth(images)
    return _pixels(smooth + (images - smooth) * (goal / np.maximum(own, 1e-3))[:, None, None, None])


def _brighter_border(images: np.ndarray, own: np.ndarray, goal: np.ndarray) -> np.ndarray:
    return np.where(border(images.shape[1])[..., None], _brighter(images, own, goal), images)


def _smooth(images: np.ndarray) -> np.ndarray:
    return scipy.ndimage.uniform_filter(images.astype(np.float32), (0, 3, 3, 0))


def _tinted(channel: int) -> Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]:
    def change(images: np.ndarray, own: np.ndarray, goal: np.ndarray) -> np.ndarray:
        factors = np.ones((len(images), 1, 1, 3))
        factors[:, 0, 0, channel] = goal / np.maximum(own, 1e-3)
        return _pixels(images * factors)

    return change


def _pixels(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


# How a property is measured (N,), and how images are given another value of it: from their own, to a goal.
PROPERTIES: dict[str, tuple[Callable[..., np.ndarray], Callable[..., np.ndarray]]] = {
    "brightness": (brightness, _brighter),
    "contrast": (contrast, _scaled),
    "sharpness": (sharpness, _sharper),
    "brightness of the border": (border_brightness, _brighter_border),
    **{f"share of {name}": (cast(channel), _tinted(channel)) for channel, name in enumerate(("red", "green", "blue"))},
}
