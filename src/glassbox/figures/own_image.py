"""The user's own picture: the figure of its explanations, and their maps in a file."""

from pathlib import Path

import numpy as np

from glassbox.core import files
from glassbox.explaining.own_image import FOLDER, Photo, named_after
from glassbox.figures.explanations import explanation


def write(photo: Photo, content: bytes, regions: int, folder: str | Path = FOLDER) -> Path:
    """Draw the picture as the classifier sees it and every explainer's maps of the most probable classes; write them
    beside it as .npz: `image`, `classes`, and one (2, H, W) per explainer.

    Args:
        photo: the explained picture.
        content: the bytes of its file; their digest distinguishes pictures of the same name.
        regions: how many of LIME's regions for and against are outlined.
        folder: the folder of both files.

    Returns:
        The figure's path.
    """
    figure, side = Path(folder) / named_after(photo.name, content), len(photo.image)
    figure.parent.mkdir(parents=True, exist_ok=True)
    is_unlike = photo.likeness is not None and not photo.likeness.is_alike
    unlike = ["UNLIKE the training images: class and maps may mean nothing"] if is_unlike else []
    explanation(
        figure,
        photo.image,
        "\n".join([photo.guessed(), *unlike, f"as the classifier sees it, {side} x {side} pixels"]),
        photo.classes,
        photo.probabilities,
        truth=None,
        targets=photo.targets,
        results=photo.results,
        start=0,
        regions=regions,
    )
    names = np.array([photo.classes[label] for label in photo.targets])
    maps = {result.name: result.attribution.maps for result in photo.results}
    files.write_npz(figure.with_suffix(".npz"), {"image": photo.image, "classes": names} | maps)
    return figure
