"""The classifier's answers about the test images, and its temperature, as *evaluate* leaves them for what follows."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from glassbox.core import files
from glassbox.core.errors import UserError

PREDICTIONS, CALIBRATION = "predictions.csv", "calibration.json"
DIGEST = "predictions_sha256"  # key of calibration.json, of the other file


def write_scaling(folder: str | Path, scaling: dict[str, Any]) -> None:
    """Write calibration.json, beside the predictions, whose digest is in it.

    Args:
        folder: of both.
        scaling: of `evaluation.calibration.Scaling`.
    """
    digest = files.sha256(Path(folder) / PREDICTIONS)
    files.write_json(Path(folder) / CALIBRATION, scaling | {DIGEST: digest}, checked=True)


def read(path: str | Path, images: int, classes: tuple[str, ...]) -> np.ndarray:
    """Probabilities (N, K) of every class for every test image: those of the classifier with the study's temperature.

    Args:
        path: of predictions.csv, beside calibration.json.
        images: N.
        classes: K names.

    Raises:
        UserError: it is missing or damaged, or of other images or classes.
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
    """The study's temperature, which the logits of its classifier are divided by wherever a probability is named; 1
    where temperature scaling is not used. See `evaluation.calibration`.

    Args:
        path: of calibration.json.

    Raises:
        UserError: it is missing or damaged.
    """
    found = files.read_json(path).get("temperature")
    if not isinstance(found, float) or not 0 < found < float("inf"):
        raise UserError(
            f"{path}: temperature is {json.dumps(found)}, but must be a number above 0: delete it, then 'dvc repro' "
            "makes it anew"
        )
    return found
