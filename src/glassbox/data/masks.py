"""Masks of images in files: which pixels are the evidence for the label, resized and cropped as the images are.

They are image files in a folder with the tree of the images' folder, or beside the images, or a COCO file.
"""

import os
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from glassbox.config.data import Data
from glassbox.core.errors import UserError, cut
from glassbox.data import coco, decode, user_paths
from glassbox.data.base import EMPTY, MARKED, NO_MASK, VANISHED, Asked
from glassbox.data.user_paths import shown

TOGETHER = 64  # masks that are read at a time
PAIRED = 0.9  # share of files in pairs of the same name from which one of each pair is taken for a mask
ORIENTATION = 0x0112  # the EXIF tag
# How an image is turned by each of its values, as `ImageOps.exif_transpose` does.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Those that leave width and height as they are.
KEEP_SIDES = (Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.ROTATE_180, Image.Transpose.FLIP_TOP_BOTTOM)
# What a mask marks, (H, W) bool: the pixels of a value, or where that is None all but 0.
Marked = Callable[[int | None], np.ndarray]


@dataclass(frozen=True)
class Found:
    """Masks that were found: `of` an image's file what is marked, and the `unused` ones, names of those that belong to
    no image."""

    of: dict[Path, Marked]
    unused: tuple[str, ...]


def place(data: Data) -> Path | None:
    """The folder or the COCO file of a study's masks; None where there are none, or they lie beside the images."""
    if data.masks is None or ending_of(data) is not None:
        return None
    return user_paths.expanded(data.masks)


def ending_of(data: Data) -> str | None:
    """The ending of masks that lie beside their images, like "_mask.png"; None if they do not."""
    masks = data.masks
    if masks is None or masks.lower().endswith(".json") or "/" in masks or not masks.startswith(("_", "-", ".")):
        return None
    return None if user_paths.is_folder(masks) else masks


def is_mask(path: Path, data: Data) -> bool:
    """Whether a file in the images' folder is a mask by its name."""
    ending = ending_of(data)
    return ending is not None and path.name.endswith(ending)


def refuse_unnamed(paths: Sequence[Path]) -> None:
    """Refuse files where nearly all are pairs like x.jpg and x.png, or x.jpg and x_mask.png: one of each is a mask.

    Raises:
        UserError: they are.
    """
    named: dict[Path, list[Path]] = {}
    for path in paths:
        named.setdefault(path.with_name(path.stem.removesuffix("_mask")), []).append(path)
    pairs = [sorted(both, key=lambda path: (len(path.stem), path.suffix)) for both in named.values() if len(both) == 2]
    if pairs and 2 * len(pairs) >= PAIRED * len(paths):
        image, mask = pairs[0]
        ending = mask.name.removeprefix(image.stem)
        raise UserError(
            f"data.masks is null, but nearly every image has a second file beside it, like {shown(image)} and "
            f"{shown(mask.name)}: if these are masks, it must be their ending, like {shown(ending)}; if they are "
            "copies, remove them"
        )


def find(paths: Sequence[Path], root: Path, beside: Sequence[Path], data: Data) -> Found:
    """The masks of the images (N,) in the folder `root`, and of the files `beside` them that are masks by their names.

    Raises:
        UserError: there are none, or two belong to one image, or one to two.
    """
    found = _find(paths, root, beside, data)
    if not found.of:
        raise UserError(
            f"data.masks = {cut(data.masks)!r} has no mask of any image in {shown(root)}: "
            f"{_example(paths[0], root, data)}"
        )
    return found


def read(found: Found, paths: Sequence[Path], class_of: Sequence[str], asked: Asked) -> tuple[np.ndarray, np.ndarray]:
    """Masks (N, size, size) uint8 of images with these (N,) files and classes, 1 where they are marked, and what became
    of each, (N,) of `MASK_STATES`.

    Raises:
        UserError: one cannot be read or has another size than its image, or data.mask_values names no class.
    """
    data, values = asked.data, asked.data.value_of()
    if unknown := sorted(set(values) - set(class_of)):
        raise UserError(
            f"data.mask_values has a value for {cut(unknown[0])!r}, which is no class: the classes are "
            f"{cut(', '.join(sorted(set(class_of))))}"
        )
    pixels, states = np.zeros((len(paths), data.image_size, data.image_size), np.uint8), []

    def one(row: int) -> tuple[np.ndarray | None, str]:
        mask, name = found.of.get(paths[row]), class_of[row]
        if mask is None or (values and name not in values):
            return None, NO_MASK
        marked = _upright(mask(values.get(name)), paths[row])
        if not marked.any():
            return None, EMPTY
        square = decode.covered(marked, decode.Shape.of(data))
        return square, MARKED if square.any() else VANISHED

    with warnings.catch_warnings(), ThreadPoolExecutor() as pool:
        warnings.simplefilter("ignore")  # about unknown tags
        for start in asked.progress(range(len(paths))):
            if start % TOGETHER == 0:
                rows = range(start, min(start + TOGETHER, len(paths)))
                for row, (square, state) in zip(rows, pool.map(one, rows), strict=True):
                    states.append(state)
                    if square is not None:
                        pixels[row] = square
    return pixels, np.array(states)


def _find(paths: Sequence[Path], root: Path, beside: Sequence[Path], data: Data) -> Found:
    source = place(data)
    if source is not None and data.masks.lower().endswith(".json"):
        return Found(*coco.masks(source, paths, root))
    ending = ending_of(data)
    if ending is not None:
        if Path(f"x{ending}").suffix.lower() not in decode.endings():
            raise UserError(f"data.masks = {data.masks!r} must end like an image file, as _mask.png does")
        of_name = {path: path for path in beside}
        return _matched(paths, lambda path: path.with_name(path.stem + ending), of_name, root)
    if not user_paths.is_folder(source):
        raise UserError(
            f"data.masks = {cut(data.masks)!r} is no folder: it must be a folder with the tree of data.path, the "
            "ending of masks beside the images, which begins with _, - or a dot, or a COCO file, which ends in .json"
        )
    real = Path(os.path.realpath(source))
    if real.is_relative_to(os.path.realpath(root)):
        raise UserError(
            f"data.masks = {cut(data.masks)!r} is inside data.path, where its folders are classes: put it beside that "
            "folder"
        )
    of_name: dict[Path, Path] = {}
    for path in user_paths.below(source, real):
        inside = path.relative_to(source)
        if path.suffix.lower() in decode.endings() and not any(part[0] == "." for part in inside.parts):
            other = of_name.setdefault(inside.with_suffix(""), path)
            if other is not path:
                raise UserError(f"data.masks: {shown(other)} and {shown(path)} are masks of one image: remove one")
    return _matched(paths, lambda path: path.relative_to(root).with_suffix(""), of_name, source)


def _matched(paths: Sequence[Path], name_of: Callable[[Path], Path], of_name: dict[Path, Path], folder: Path) -> Found:
    """The masks `of_name` of the images to whose names they belong, and those left over, relative to their folder."""
    found, owner = {}, {}
    for path in paths:
        mask = of_name.get(name_of(path))
        if mask is not None:
            found[path] = partial(_marked, mask)
            if (other := owner.setdefault(mask, path)) is not path:
                raise UserError(
                    f"data.masks: {shown(mask)} belongs to two images, {shown(other)} and {shown(path)}: rename one"
                )
    unused = (user_paths.text_of(mask.relative_to(folder)) for mask in of_name.values() if mask not in owner)
    return Found(found, tuple(unused))


def _marked(path: Path, value: int | None) -> np.ndarray:
    values = decode.read_values(path)
    if values.ndim == 3:
        grey = (values == values[..., :1]).all()
        if value is not None and not grey:
            raise UserError(
                f"data.masks: {shown(path)} has colours: with data.mask_values a mask must hold numbers, in grey or as "
                "those of a palette"
            )
        values = values.max(axis=2)
    return values != 0 if value is None else values == value


def _upright(marked: np.ndarray, path: Path) -> np.ndarray:
    """A mask (H, W) of an image file, turned as the image is by its EXIF tag, unless it is upright already."""
    with Image.open(path, formats=decode.formats()) as image:
        turn, (w, h) = TURNS.get(image.getexif().get(ORIENTATION)), image.size
    upright = (h, w) if turn is None or turn in KEEP_SIDES else (w, h)
    if marked.shape == upright:
        return marked
    if marked.shape == (h, w):
        return np.asarray(Image.fromarray(marked).transpose(turn))
    size = " x ".join(map(str, marked.shape[::-1]))
    raise UserError(
        f"data.masks: the mask of {shown(path)} has {size} pixels, and the image has {upright[1]} x {upright[0]}: they "
        "must be equal"
    )


def _example(path: Path, root: Path, data: Data) -> str:
    """Where the mask of an image would lie, for a message."""
    name, source = path.relative_to(root), place(data)
    if source is None:
        return f"that of {shown(name)} must be called {shown(name.with_name(name.stem + data.masks))}"
    if data.masks.lower().endswith(".json"):
        return f"file_name of its images must be a name like {shown(name)}, or its last part"
    return f"that of {shown(name)} must be called {shown(name.with_suffix('.png'))} there"
