"""The classifier's answers about the test images, and its temperature, as *evaluate* leaves them for what follows."""

from pathlib import Path

import numpy as np

from glassbox import files
from glassbox.errors import UserError


def read(path: str | Path, images: int, classes: tuple[str, ...]) -> np.ndarray:
    """Probabilities (N, K) of every class for every test image: those of the classifier with the study's temperature.

    Args:
        path: of predictions.csv.
        images: N.
        classes: K names.

    Raises:
        UserError: it is missing or damaged, or of other images or classes.
    """
    table, columns = files.read_csv(path), [f"p({name})" for name in classes]
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
            f"{path}: temperature is {found!r}, but must be a number above 0: delete it, then 'dvc repro' makes it anew"
        )
    return found
