"""The classifier's answers about the test images, as *evaluate* leaves them for the stages that explain."""

from pathlib import Path

import numpy as np

from glassbox import files
from glassbox.errors import UserError


def read(path: str | Path, images: int, classes: tuple[str, ...]) -> np.ndarray:
    """Probabilities (N, K) of every class for every test image.

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
