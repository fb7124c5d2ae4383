"""Early stopping, as Keras has it."""

import copy
import math
from typing import Any

from torch import nn

from glassbox.training.recipe import Recipe


class EarlyStopping:
    """The best loss so far, the weights that had it, and the number of epochs without a better one."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._best_loss, self._stale = math.inf, 0
        self._best_weights: dict[str, Any] | None = None

    def update(self, loss: float, epoch: int, classifier: nn.Module) -> bool:
        """Take the loss after an epoch, and copy the weights if it is the best one and the best are kept. Returns
        whether it is the best so far; that of the first epoch always is."""
        recipe = self._recipe
        is_best = loss < self._best_loss - recipe.min_delta
        if is_best:
            self._best_loss, self._stale = loss, 0
            self._best_weights = copy.deepcopy(classifier.state_dict()) if recipe.keep == "best" else None
        elif epoch > recipe.head_epochs or recipe.head_epochs >= recipe.epochs:
            self._stale += 1
        return is_best

    @property
    def stops(self) -> bool:
        """Whether `patience` epochs in a row had no better loss."""
        return self._stale >= self._recipe.patience

    def restore(self, classifier: nn.Module) -> None:
        """Give the classifier the best weights, unless the last ones are kept."""
        if self._best_weights is not None:
            classifier.load_state_dict(self._best_weights)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        return {"best_loss": self._best_loss, "best_weights": self._best_weights, "stale": self._stale}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        self._best_loss, self._best_weights, self._stale = state["best_loss"], state["best_weights"], state["stale"]
