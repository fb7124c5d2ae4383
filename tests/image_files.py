"""Folders of small image files, and the section `data` that reads them."""

from pathlib import Path

from conftest import ROOT
from PIL import Image

from glassbox.config import parameters
from glassbox.config.data import Data
from glassbox.data.base import Asked, Images
from glassbox.data.sources import image_folder

RED, GREEN, BLUE = (200, 30, 30), (30, 200, 30), (30, 30, 200)
DIGITS = parameters.read(ROOT / "params.yaml").data


def save(path: Path, image: Image.Image, **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)


def pets(folder: Path, per_class: int = 3) -> Path:
    """A folder of cats and dogs, no two images alike."""
    for name, colour in (("cats", RED), ("dogs", GREEN)):
        for number in range(per_class):
            save(
                folder / name / f"{number}.png", Image.new("RGB", (20 + number, 10), (*colour[:2], colour[2] + number))
            )
    return folder


def section(folder: Path, **changes: object) -> Data:
    """The section `data` for a folder of images, 8 x 8 pixels unless `changes` says otherwise."""
    return DIGITS.model_copy(update={"source": "image_folder", "path": str(folder), "image_size": 8} | changes)


def load(folder: Path, kept: Path | None = None, **changes: object) -> Images:
    return image_folder.source(Asked(section(folder, **changes), seed=0, kept=kept))
