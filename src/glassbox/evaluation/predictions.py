"""The files in which *evaluate* leaves predictions for the test images and the study's temperature."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from glassbox.core import files
from glassbox.core.errors import UserError

PREDICTIONS, CALIBRATION = "predictions.csv", "calibration.json"
DIGEST = "predictions_sha256"  # key of calibration.json: the digest of predictions.csv


def write_scaling(folder: str | Path, scaling: dict[str, Any]) -> None:
    """Write calibration.json with `Scaling.as_dict` and the digest of predictions.csv, which is in the same folder."""
    digest = files.sha256(Path(folder) / PREDICTIONS)
    files.write_json(Path(folder) / CALIBRATION, scaling | {DIGEST: digest}, checked=True)


def read(path: str | Path, images: int, classes: tuple[str, ...]) -> np.ndarray:
    """Probabilities (N, K) of K classes for N images, with the study's temperature, from predictions.csv beside
    calibration.json.

    Raises:
        UserError: the file is missing or damaged, or has other images or classes.
    """
    table, columns = files.read_csv(path), [f"p({name})" for name in classes]
    scaling = Path(path).with_name(CALIBRATION)
    written = files.read_json(scaling).get(DIGEST) if scaling.exists() else None
    if written is not None and written != files.sha256(path):
        raise UserError(files.damaged(path, f"its SHA-256 is not that in {CALIBRATION}"))
    if len(table) != images or not set(columns) <= set(table):
        raise UserError(
            f"{path} does not hold the probabilities of {len(classes)} classes for {images} test images: delete it, "
            "then 'dvc repro' makes it anew"
        )
    return table[columns].to_numpy()


def temperature(path: str | Path) -> float:
    """The study's temperature, by which logits are divided, from calibration.json; 1 if scaling is not used.

    Raises:
        UserError: it is missing or damaged.
    """
    value = files.read_json(path).get("temperature")
    if not isinstance(value, float) or not 0 < value < float("inf"):
        raise UserError(
            f"{path}: temperature is {json.dumps(value)}, but must be a number above 0: delete it, then 'dvc repro' "
            "makes it anew"
        )
    return value
