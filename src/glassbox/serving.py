"""What MLflow loads when it loads a logged model: `mlflow.pyfunc` calls `_load_pyfunc` and then `predict`."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image

from glassbox import models
from glassbox.core import files
from glassbox.data.sources.image_folder import square

SETTINGS = "serving.json"  # beside weights and card
BATCH_SIZE = 128


class Predictor:
    """A saved classifier that takes plain images.

    Args:
        folder: with model.safetensors, model.json and serving.json, which holds the study's `temperature` and how
            images of another size are made fit (`resize`: crop, pad or stretch).
    """

    def __init__(self, folder: str | Path) -> None:
        settings = files.read_json(Path(folder) / SETTINGS)
        self.classifier, self.card = models.load(folder, temperature=settings["temperature"])
        self.resize = settings["resize"]

    def predict(self, images: Any, params: dict[str, Any] | None = None) -> pd.DataFrame:  # noqa: ARG002 (pyfunc's call)
        """Classes and the probabilities of the study, those in its predictions.csv: "prediction", then "p(NAME)" for
        each class.

        Args:
            images: (N, H, W, 3) uint8, RGB; of any size.
            params: none are known.

        Raises:
            ValueError: these are no such images.
        """
        pixels = np.asarray(images)
        if pixels.ndim != 4 or pixels.shape[3] != 3 or 0 in pixels.shape[1:3] or pixels.dtype != np.uint8:
            raise ValueError(f"images must be (N, H, W, 3) uint8, not {pixels.shape} {pixels.dtype}")
        side = self.card.image_size
        if pixels.shape[1:3] != (side, side):
            fit = [np.asarray(square(Image.fromarray(image), side, self.resize)) for image in pixels]
            pixels = np.stack(fit) if fit else np.zeros((0, side, side, 3), np.uint8)
        rows = torch.from_numpy(np.array(pixels))  # a copy: what MLflow gives may be read-only
        names = self.card.classes
        if not len(rows):
            return pd.DataFrame(columns=["prediction", *(f"p({name})" for name in names)])
        p = models.probabilities(self.classifier, rows, BATCH_SIZE).numpy()
        table = pd.DataFrame(p, columns=[f"p({name})" for name in names])
        table.insert(0, "prediction", [names[label] for label in p.argmax(axis=1)])
        return table


def _load_pyfunc(path: str) -> Predictor:
    return Predictor(path)
