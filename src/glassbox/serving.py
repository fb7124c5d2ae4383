"""What MLflow loads when it loads a logged model: `mlflow.pyfunc` calls `_load_pyfunc` and then `predict`."""

from typing import Any

import numpy as np
import pandas as pd
import torch

from glassbox import models


class Predictor:
    """A saved classifier that takes plain images.

    Args:
        folder: with model.safetensors and model.json.
    """

    def __init__(self, folder: str) -> None:
        self.classifier, self.card = models.load(folder)

    def predict(self, images: Any, params: dict[str, Any] | None = None) -> pd.DataFrame:  # noqa: ARG002 (pyfunc's call)
        """Classes and probabilities of images (N, H, W, 3) uint8: "prediction", then "p(NAME)" for each class."""
        pixels = torch.from_numpy(np.ascontiguousarray(images, dtype=np.uint8))
        p = models.probabilities(self.classifier, pixels, 128).numpy()
        table = pd.DataFrame(p, columns=[f"p({name})" for name in self.card.classes])
        table.insert(0, "prediction", [self.card.classes[label] for label in p.argmax(axis=1)])
        return table


def _load_pyfunc(path: str) -> Predictor:
    return Predictor(path)
