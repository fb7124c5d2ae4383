"""Whether an image is like those that the network learned from.

An image's distance is that of its last features, scaled to length 1, to the k-th nearest of the training images' (Sun
et al. 2022, Out-of-Distribution Detection with Deep Nearest Neighbors). An image is called unlike them if its distance
is larger than that of all but 5 % of the validation images, which were not learned from.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import normalize

from glassbox.core.seeds import derive
from glassbox.models import Classifier
from glassbox.models.last_features import last_features

NEIGHBOURS = 10  # k
MOST = 2000  # training images that are compared with, drawn at random; and validation images
FALSE_ALARMS = 0.05
FEWEST = math.ceil(1 / FALSE_ALARMS) - 1  # validation images, with fewer of which no distance would be too large


@dataclass(frozen=True)
class Reference:
    """What images are compared with."""

    features: np.ndarray  # (R, D) of training images, length 1
    rows: np.ndarray  # (R,) their positions in the training split
    threshold: float  # the largest distance of an image that is like them
    held_out: int  # validation images from which the threshold comes

    def arrays(self) -> dict[str, np.ndarray]:
        """For a file."""
        return {
            "features": self.features,
            "rows": self.rows,
            "threshold": np.array(self.threshold),
            "held_out": np.array(self.held_out),
        }

    @staticmethod
    def of(arrays: dict[str, np.ndarray]) -> "Reference":
        """From such a file."""
        threshold, held_out = float(arrays["threshold"]), int(arrays["held_out"])
        return Reference(np.array(arrays["features"]), np.array(arrays["rows"]), threshold, held_out)

    def distances(self, features: np.ndarray) -> np.ndarray:
        """Of images (N,), from their features (N, D) of length 1: 0 to 2."""
        return np.sort(self._to_each(features), axis=1)[:, min(NEIGHBOURS, len(self.features)) - 1]

    def nearest(self, features: np.ndarray, n: int) -> np.ndarray:
        """Positions in the training split of the n images nearest to one with features (D,), the nearest first."""
        return self.rows[np.argsort(self._to_each(features[None])[0], kind="stable")[:n]]

    def _to_each(self, features: np.ndarray) -> np.ndarray:
        cosines = features @ self.features.T
        return np.sqrt(np.maximum(0, 2 - 2 * cosines))  # of vectors of length 1


def features_of(classifier: Classifier, images: torch.Tensor, batch_size: int) -> np.ndarray | None:
    """Last features (N, D) of images (N, H, W, 3) uint8, scaled to length 1; None where there are none."""
    found = last_features(classifier, images, batch_size)
    return None if found is None else normalize(found, dim=1).numpy()


def passes(train: int, validation: int) -> int:
    """How many images `reference` sends through the network, of so many in each split."""
    return min(train, MOST) + min(validation, MOST)


def reference(
    classifier: Classifier, train: torch.Tensor, validation: torch.Tensor, *, batch_size: int, seed: int
) -> Reference | None:
    """What images of a study are compared with; None where the network's last layer is not known, or where `FEWEST`
    validation images are not there.

    Args:
        train, validation: images of these splits, (N, H, W, 3) uint8; at most `MOST` of each are drawn.
        seed: the study's.
    """
    if len(validation) < FEWEST or len(train) == 0:
        return None
    drawn = []
    for name, images in (("train", train), ("validation", validation)):
        order = np.random.default_rng(derive(seed, "explain", "familiarity", name)).permutation(len(images))
        rows = np.sort(order[:MOST])
        features = features_of(classifier, images[torch.from_numpy(rows)], batch_size)
        if features is None:
            return None
        drawn.append((rows, features))
    (rows, known), (held_out, others) = drawn
    made = Reference(known, rows, math.inf, len(held_out))
    # The smallest distance that a new image of the same kind exceeds with a chance of 5 % at most.
    place = math.ceil((1 - FALSE_ALARMS) * (len(others) + 1)) - 1
    return Reference(known, rows, float(np.sort(made.distances(others))[place]), len(held_out))
