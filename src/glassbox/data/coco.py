"""Masks in a file in the format of COCO: polygons, run lengths and boxes, drawn by pycocotools."""

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from glassbox.core.errors import UserError
from glassbox.data import user_paths
from glassbox.data.user_paths import shown

WRONG = (KeyError, TypeError, ValueError, IndexError, AttributeError)  # what a file of another structure raises


def masks(
    file: Path, paths: Sequence[Path], root: Path
) -> tuple[dict[Path, Callable[[int | None], np.ndarray]], tuple[str, ...]]:
    """The masks of those images (N,) that the file has, and the names in it of no image. A mask is a function of a
    category's id, or of None for all categories, and has the size that the file gives (H, W).

    An image in the file is the one with its `file_name`, relative to `root`, or else the only one whose last part that
    is.

    Raises:
        UserError: the file cannot be read, is not in this format, or a name fits several images.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"data.masks: there is no file {shown(file)}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"data.masks: {shown(file)} cannot be read as JSON ({error})") from None
    by_name = {user_paths.text_of(path.relative_to(root)): path for path in paths}
    by_last = defaultdict(list)
    for path in paths:
        by_last[path.name].append(path)
    marked: dict[Any, list[dict]] = defaultdict(list)
    found, unused = {}, []
    try:
        for annotation in content["annotations"]:
            marked[annotation["image_id"]].append(annotation)
        for image in content["images"]:
            name, size = image["file_name"], (int(image["height"]), int(image["width"]))
            fit = [by_name[name]] if name in by_name else by_last.get(name, [])
            if len(fit) > 1:
                raise UserError(
                    f"data.masks: {shown(file)} has the image {shown(name)}, and there are {len(fit)} of that name: "
                    "file_name must be relative to data.path"
                )
            if not fit:
                unused.append(name)
            elif fit[0] in found:
                raise UserError(f"data.masks: {shown(file)} has the image {shown(name)} twice")
            else:
                found[fit[0]] = partial(_drawn, file, name, size, marked[image["id"]])
    except WRONG as error:
        raise UserError(
            f"data.masks: {shown(file)} is no COCO file ({type(error).__name__}: {error}): it must have images with "
            "id, file_name, height and width, and annotations with image_id"
        ) from None
    return found, tuple(unused)


def _drawn(file: Path, name: str, size: tuple[int, int], annotations: list[dict], category: int | None) -> np.ndarray:
    """The union (H, W) bool of an image's annotations of a category, or of all."""
    from pycocotools import mask

    union = np.zeros(size, bool)
    for annotation in annotations:
        try:
            if category is None or annotation["category_id"] == category:
                for part in _runs(annotation, *size):
                    union |= mask.decode(part).astype(bool)
        except WRONG as error:
            raise UserError(
                f"data.masks: {shown(file)}: annotation {annotation.get('id')} of {shown(name)} cannot be drawn "
                f"({error}): it must have a segmentation (polygons or run lengths) or a bbox"
            ) from None
    return union


def _runs(annotation: dict, h: int, w: int) -> list[dict]:
    """The parts of an annotation as compressed run lengths: of its segmentation, or without one of its box."""
    from pycocotools import mask

    shape = annotation.get("segmentation")
    if not shape:
        return mask.frPyObjects(np.array([annotation["bbox"]], float), h, w)
    if isinstance(shape, list):
        for polygon in shape:
            if len(polygon) < 6 or len(polygon) % 2:
                raise ValueError(f"a polygon of {len(polygon)} numbers, which must be even and at least 6")
        return mask.frPyObjects([[float(number) for number in polygon] for polygon in shape], h, w)
    if shape["size"] != [h, w]:
        raise ValueError(f"run lengths of the size {shape['size']}, but the image has {[h, w]}")
    if isinstance(shape["counts"], list):
        return [mask.frPyObjects(shape, h, w)]
    return [shape]
