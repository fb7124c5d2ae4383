"""Any folder of images with a sub-folder for each class."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from glassbox.data.base import Images
from glassbox.errors import UserError

SPLIT_FOLDERS = {
    "train": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}
WHITE = (255, 255, 255)


def load(
    folder: str | Path | None, image_size: int, resize: str, progress: Callable[[Iterable], Iterable] = iter
) -> Images:
    """Images under folder/CLASS/, or under folder/train/CLASS/ and folder/test/CLASS/ (and folder/val/CLASS/).

    Every mode and format that Pillow reads: grey, palette, 16-bit and CMYK become RGB, transparency is laid on white,
    the camera's EXIF rotation is applied, of an animation the first frame is taken. Files with other endings and
    hidden files are skipped and listed.

    Args:
        folder: the root.
        image_size: side of the resulting square, pixels.
        resize: "crop" the centre, "pad" with the image's mean colour, or "stretch".
        progress: wraps the iteration over the files, as tqdm does.

    Raises:
        UserError: no such folder, fewer than two classes, or an unreadable image, which is named.
    """
    if folder is None:
        raise UserError("data.path is null: with data.source = image_folder it must name the folder of the images")
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise UserError(f"data.path = {str(folder)!r} is no folder: it must hold a sub-folder of images for each class")
    files, skipped = _find(root)
    classes = tuple(sorted({name for _, name, _ in files}))
    if len(classes) < 2:
        raise UserError(
            f"data.path = {str(folder)!r} has images of {len(classes)} classes: it must hold a sub-folder of images "
            "for each of at least two classes"
        )
    pixels = np.empty((len(files), image_size, image_size, 3), np.uint8)

    def fill(row: int) -> None:
        pixels[row] = read(files[row][2], image_size, resize)

    with ThreadPoolExecutor() as pool:  # Pillow decodes outside the interpreter lock
        jobs = [pool.submit(fill, row) for row in range(len(files))]
        try:
            for job in progress(jobs):
                job.result()
        except BaseException:  # one broken image is enough to know, and Ctrl-C is meant
            pool.shutdown(cancel_futures=True)
            raise
    splits = [split for split, _, _ in files]
    return Images(
        pixels=pixels,
        labels=np.array([classes.index(name) for _, name, _ in files], np.int64),
        classes=classes,
        splits=np.array(splits) if splits[0] is not None else None,
        names=tuple(str(path.relative_to(root)) for _, _, path in files),
        skipped=skipped,
    )


def _find(root: Path) -> tuple[list[tuple[str | None, str, Path]], tuple[str, ...]]:
    """(split, class, file) of every image in a fixed order, and the names of files that are none."""
    children = {child.name: child for child in sorted(root.iterdir()) if child.is_dir() and child.name[0] != "."}
    named = [name for name in children if name.lower() in SPLIT_FOLDERS]
    # A class may be called "test": only a folder that holds folders is a split.
    has_splits = "train" in [name.lower() for name in named] and all(
        any(inner.is_dir() for inner in children[name].iterdir()) for name in named
    )
    if has_splits and len(named) < len(children):
        others = sorted(set(children) - set(named))
        raise UserError(
            f"{root} holds the split folders {', '.join(named)} and beside them {', '.join(others)}: it must hold "
            "either splits or classes"
        )
    parts = [(SPLIT_FOLDERS[name.lower()], children[name]) for name in named] if has_splits else [(None, root)]
    # Some formats Pillow can only write, such as PDF.
    endings = {ending for ending, format in Image.registered_extensions().items() if format in Image.OPEN}
    files, skipped = [], []
    for split, part in parts:
        for folder in sorted(child for child in part.iterdir() if child.is_dir() and child.name[0] != "."):
            for path in sorted(path for path in folder.rglob("*") if path.is_file()):
                hidden = any(part[0] == "." for part in path.relative_to(folder).parts)
                if not hidden and path.suffix.lower() in endings:
                    files.append((split, folder.name, path))
                else:
                    skipped.append(str(path.relative_to(root)))
    return files, tuple(skipped)


def read(path: str | Path, image_size: int, resize: str) -> np.ndarray:
    """One image file as (image_size, image_size, 3) uint8.

    Raises:
        UserError: Pillow cannot read it; the message names the file and the reason.
    """
    try:
        with Image.open(path) as image:
            return np.asarray(_square(_rgb(ImageOps.exif_transpose(image)), image_size, resize))
    except Exception as error:  # a damaged file can raise anything: a header cut short, struct.error
        raise UserError(f"{path} cannot be read as an image: {error}") from None


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        # Pillow's own conversion clips these at 255: a 16-bit X-ray would become white. 16 bits fill 0..65535; for
        # wider types, whose range no header tells, the image's own range is used.
        values = np.asarray(image).astype(np.float64)
        low, high = (0.0, 65535.0) if image.mode.startswith("I;16") else (values.min(), values.max())
        image = Image.fromarray(np.round((values - low) * (255 / ((high - low) or 1))).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        canvas = Image.new("RGBA", image.size, (*WHITE, 255))
        image = Image.alpha_composite(canvas, image)
    return image.convert("RGB")


def _square(image: Image.Image, size: int, resize: str) -> Image.Image:
    target, method = (size, size), Image.Resampling.BICUBIC
    if resize == "stretch":
        return image.resize(target, method)
    if resize == "pad":
        colour = tuple(int(value) for value in np.asarray(image).reshape(-1, 3).mean(axis=0).round())
        return ImageOps.pad(image, target, method, color=colour)
    return ImageOps.fit(image, target, method)
