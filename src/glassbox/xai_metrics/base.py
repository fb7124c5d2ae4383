"""What a metric of explanations declares, and what its family's `measure` receives."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from glassbox.config.explain import Explain
    from glassbox.config.score import Score
    from glassbox.explainers.base import Request
    from glassbox.models import Classifier


@dataclass(frozen=True)
class Metric:
    """A number for each explained image.

    Attributes:
        name: column name.
        property: what it measures of an explanation.
        higher_is_better: direction; None for a description that ranks nothing.
        unit: of the number.
        citation: where it is defined.
        has_interval: whether `bootstrap.interval` covers its mean often enough, see docs/claims.md.
    """

    name: str
    property: str
    higher_is_better: bool | None
    unit: str
    citation: str
    has_interval: bool = True

    @property
    def direction(self) -> str:
        """In words."""
        return {True: "higher is better", False: "lower is better", None: "unranked"}[self.higher_is_better]


@dataclass(frozen=True)
class Hidden:
    """Random sets of hidden regions and their effect. They depend on no map: all explainers are measured on the same.

    Attributes:
        cells: (H, W) labels 0..S-1 of the regions, a common grid.
        sets: (N, D, S) bool, hidden regions.
        drops: (N, D) by how much the target's probability fell; equal for all sets of an image if the falls differ by
            no more than rounding.
    """

    cells: np.ndarray
    sets: np.ndarray
    drops: np.ndarray


@dataclass(frozen=True)
class Sample:
    """Maps, and everything they may be measured on.

    Attributes:
        maps: (N, H, W).
        classifier: what they explain.
        request: the images, explained classes and seeds, N each.
        masks: (N, H, W) bool for each margin in pixels, where the evidence is; empty if that is unknown.
        right: (N,) bool, whether the prediction is right; masks are valid only there.
        hidden: sets of hidden cells by the share of hidden cells.
        mean: colour of the training images, 0..1 a channel.
        explain, settings: sections `explain` and `score` of the parameters.
        batch_size: images in one forward pass.
        only_first: whether to measure only a metric's first setting, the one that ranks.
    """

    maps: np.ndarray
    classifier: "Classifier"
    request: "Request"
    masks: dict[int, np.ndarray]
    right: np.ndarray
    hidden: dict[float, "Hidden"]
    mean: tuple[float, ...]
    explain: "Explain"
    settings: "Score"
    batch_size: int
    only_first: bool = False


Scores = Iterator[tuple[Metric, str, np.ndarray]]  # metric, setting, (N,) one score an image, NaN where it has none
