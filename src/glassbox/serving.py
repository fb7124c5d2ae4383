"""The code of a logged model: `mlflow.pyfunc` calls `_load_pyfunc` and then `predict`."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image

from glassbox import models
from glassbox.core import files
from glassbox.data.decode import Shape, square

SETTINGS = "serving.json"  # beside weights and card
BATCH_SIZE = 128


class Predictor:
    """A saved classifier that takes plain images.

    Args:
        folder: has model.safetensors, model.json and serving.json, which holds the study's `temperature` and how
            images of another size become squares (`shape`, the fields of a `decode.Shape`).
    """

    def __init__(self, folder: str | Path) -> None:
        settings = files.read_json(Path(folder) / SETTINGS)
        self.classifier, self.card = models.load(folder, temperature=settings["temperature"])
        self.shape = Shape(**settings["shape"])

    def predict(self, images: Any, params: dict[str, Any] | None = None) -> pd.DataFrame:  # noqa: ARG002 (pyfunc's call)
        """Classes and the study's probabilities, as in predictions.csv: "prediction", then "p(NAME)" for each class.

        Args:
            images: (N, H, W, 3) uint8, RGB; of any size.

        Raises:
            ValueError: these are no such images.
        """
        pixels = np.asarray(images)
        if pixels.ndim != 4 or pixels.shape[3] != 3 or 0 in pixels.shape[1:3] or pixels.dtype != np.uint8:
            raise ValueError(f"images must be (N, H, W, 3) uint8, not {pixels.shape} {pixels.dtype}")
        names, side = self.card.classes, self.card.image_size
        columns = [f"p({name})" for name in names]
        if not len(pixels):
            return pd.DataFrame(columns=["prediction", *columns])
        if pixels.shape[1:3] != (side, side):
            pixels = np.stack([np.asarray(square(Image.fromarray(image), self.shape)) for image in pixels])
        rows = torch.from_numpy(np.array(pixels))  # a copy: MLflow's array may be read-only
        p = models.probabilities(self.classifier, rows, BATCH_SIZE).numpy()
        table = pd.DataFrame(p, columns=columns)
        table.insert(0, "prediction", [names[label] for label in p.argmax(axis=1)])
        return table


def _load_pyfunc(path: str) -> Predictor:
    return Predictor(path)
