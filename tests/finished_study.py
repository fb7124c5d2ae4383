"""The files of a finished study that explaining an image of the user needs."""

from pathlib import Path

import numpy as np
import torch
from conftest import SMALL_CNN, model

from glassbox import models
from glassbox.config.parameters import Params
from glassbox.core import files
from glassbox.data import store
from glassbox.data.base import Images
from glassbox.models.preprocessing import Preprocessing

CLASSES = ("cat", "dog", "ship")


def write(place: Path, params: Params, data: str = "data", model_folder: str = "model") -> Params:
    """Write images of 16 pixels, a classifier and a temperature of 0.5 into a folder; the study's parameters, with
    explanations of little work."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (30, 16, 16, 3), dtype=np.uint8)
    splits = np.array(["train"] * 18 + ["validation"] * 6 + ["test"] * 6)
    images = Images(pixels, np.arange(30) % 3, CLASSES, splits)
    description = store.write(place / data, images, np.arange(30), "toy")
    torch.manual_seed(0)
    classifier = models.build("cnn", SMALL_CNN, Preprocessing(description.mean, description.std), 16, 3)
    card = models.describe(model("cnn", SMALL_CNN), classifier, description, [])
    models.save(place / model_folder, classifier, card)
    files.write_json(place / "reports/evaluate/calibration.json", {"temperature": 0.5})
    e = params.explain
    little = e.model_copy(
        update={
            "superpixels": e.superpixels.model_copy(update={"segments": 16}),
            "lime": e.lime.model_copy(update={"samples": 40}),
            "kernel_shap": e.kernel_shap.model_copy(update={"coalitions": 40, "background": 2}),
            "partition_shap": e.partition_shap.model_copy(update={"evaluations": 40}),
            "rise": e.rise.model_copy(update={"masks": 40}),
            "gradient_shap": e.gradient_shap.model_copy(update={"samples": 4, "background": 4}),
            "integrated_gradients": e.integrated_gradients.model_copy(update={"steps": 4}),
        }
    )
    return params.model_copy(update={"explain": little})
