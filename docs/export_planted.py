"""The prepared images of a planted study as a folder of images and a folder of masks, as one's own images have them.

    python -m docs.export_planted FOLDER   writes FOLDER/images/SPLIT/CLASS/NUMBER.png and FOLDER/masks/ with that tree

It is to be run in a study whose *prepare* is done. The pixels, splits and masks of the folder are the same; the classes
are in the order of their names.
"""

import sys
from pathlib import Path

from PIL import Image

from glassbox.core.errors import UserError, run
from glassbox.data import store
from glassbox.data.base import SPLITS

DATA = "data/prepared"


def export(prepared: str | Path, folder: str | Path) -> int:
    """Write the folder, and return the number of images.

    Raises:
        UserError: the prepared data have no masks, or the folder is there already.
    """
    description = store.describe(prepared)
    if not description.has_masks:
        raise UserError(
            f"{prepared} holds images of {description.source}, which have no masks: prepare studies/planted"
        )
    if Path(folder).exists():
        raise UserError(f"{folder} is there already: name a folder that is not")
    n = 0
    for split in SPLITS:
        part = store.read(prepared, split)
        for image, mask, label, index in zip(part.images, part.masks, part.labels, part.index, strict=True):
            name = Path(split) / description.classes[label] / f"{int(index):06d}.png"
            for kind, pixels in (("images", image.numpy()), ("masks", 255 * mask.numpy())):
                path = Path(folder) / kind / name
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(path)
            n += 1
    return n


def main() -> None:
    if len(sys.argv) != 2:
        raise UserError("usage: python -m docs.export_planted FOLDER")
    n = export(DATA, sys.argv[1])
    print(f"wrote {n:,} images and masks: data.path={sys.argv[1]}/images data.masks={sys.argv[1]}/masks")


if __name__ == "__main__":
    run(main)
