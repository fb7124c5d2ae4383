"""A picture of one's own: the figure of its explanations, and their maps in a file."""

from pathlib import Path

import numpy as np

from glassbox.core import files
from glassbox.explainers.catalog import TITLES
from glassbox.explaining.own_image import FOLDER, Photo, named_after
from glassbox.figures import explanations


def write(photo: Photo, content: bytes, regions: int, folder: str | Path = FOLDER) -> Path:
    """Write the figure, and beside it the maps as .npz: `image`, `classes`, and one (2, H, W) a explainer.

    Args:
        photo: explained.
        content: of its file, whose digest tells pictures of the same name apart.
        regions: how many of LIME's regions for and against are outlined.
        folder: for both.

    Returns:
        The figure's path.
    """
    folder = Path(folder)
    figure = folder / named_after(photo.name, content)
    folder.mkdir(parents=True, exist_ok=True)
    draw(figure, photo, regions)
    names = np.array([photo.classes[label] for label in photo.targets])
    maps = {result.name: result.attribution.maps for result in photo.results}
    files.write_npz(figure.with_suffix(".npz"), {"image": photo.image, "classes": names} | maps)
    return figure


def draw(path: str | Path, photo: Photo, regions: int) -> None:
    """A picture of one's own, as the classifier sees it, and every explainer's maps of the most probable classes.

    Args:
        path: of the figure.
        photo: explained.
        regions: how many of LIME's regions for and against are outlined.
    """
    side, rows = len(photo.image), slice(0, len(photo.targets))
    explanations.explanation(
        path,
        photo.image,
        f"{photo.told()}; as the classifier sees it, {side} x {side} pixels",
        photo.classes,
        photo.probabilities,
        None,
        photo.targets,
        {TITLES[result.name]: explanations.sound(result, rows) for result in photo.results},
        {
            TITLES[result.name]: [explanations.note(result, row, photo.classes) for row in range(rows.stop)]
            for result in photo.results
        },
        regions,
    )
