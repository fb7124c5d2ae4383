r"""Any folder of images with a sub-folder for each class.

A file with an image's ending that cannot be read as an image is refused in one sentence, or left out and listed.
Nothing outside the folder is ever read.
"""

import json
import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from unicodedata import category

import numpy as np
import PIL

from glassbox.config.data import Data
from glassbox.core.errors import UserError
from glassbox.data import decode, groups, masks, user_paths
from glassbox.data.base import Asked, Images
from glassbox.data.user_paths import shown
from glassbox.provenance import resume

FOLDERS = {"train": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test"}
TOGETHER = 64  # images that are read at a time; no more are lost when the process is killed


class File(NamedTuple):
    """An image file, its class, and its split; None where the folder has no splits."""

    split: str | None
    class_name: str
    path: Path


def source(asked: Asked) -> Images:
    """Images under data.path/CLASS/, or under data.path/train/CLASS/ and data.path/test/CLASS/ (and val/CLASS/).

    Files with other endings than those of `decode.FORMATS`, hidden files and files beside the class folders are skipped
    and listed.

    Raises:
        UserError: no such folder, fewer than two classes, a class without an image or whose name is no text, a link
            that leads out of the folder, a folder that must not be read, an image without a group, masks among the
            images, a mask that cannot be used, or, unless data.bad_images is "skip", an unreadable image: the first by
            name.
    """
    data = asked.data
    root = user_paths.folder("data.path", data.path, "a sub-folder of images for each class")
    files, skipped = _find(root)
    beside = [file.path for file in files if masks.is_mask(file.path, data)]
    files = [file for file in files if not masks.is_mask(file.path, data)]
    if data.masks is None:
        masks.refuse_unnamed([file.path for file in files])
    classes = tuple(sorted({file.class_name for file in files}))
    if len(classes) < 2:
        raise UserError(
            f"data.path = {data.path!r} has images of {len(classes)} classes: it must hold a sub-folder of images "
            "for each of at least two classes"
        )
    names = tuple(_name(file.path, root) for file in files)
    group_of = None if data.groups is None else groups.read(data.groups, names, root)
    marks = None if data.masks is None else masks.find([file.path for file in files], root, beside, data)
    pixels, reasons = _read_all([file.path for file in files], asked)
    images = Images(
        pixels=pixels,
        labels=np.array([classes.index(file.class_name) for file in files], np.int64),
        classes=classes,
        splits=None if files[0].split is None else np.array([file.split for file in files]),
        names=names,
        groups=group_of,
        skipped=skipped,
    )
    if any(reasons):
        _refuse_emptied(files, reasons)
        readable = np.array([row for row, reason in enumerate(reasons) if not reason])
        unreadable = tuple((name, reason) for name, reason in zip(names, reasons, strict=True) if reason)
        images, files = replace(images.take(readable), unreadable=unreadable), [files[row] for row in readable]
    if marks is None:
        return images
    marked, states = masks.read(marks, [file.path for file in files], [file.class_name for file in files], asked)
    return replace(images, masks=marked, mask_states=states, unused_masks=marks.unused)


def _read_all(paths: Sequence[Path], asked: Asked) -> tuple[np.ndarray, list[str]]:
    """Pixels (N, size, size, 3) uint8 of all files, and for each the reason why it is unreadable, or ""."""
    data = asked.data
    pixels, reasons = np.empty((len(paths), data.image_size, data.image_size, 3), np.uint8), [""] * len(paths)
    parts = None
    if asked.kept is not None:
        settings = (vars(decode.Shape.of(data)), data.bad_images, sorted(data.convert), PIL.__version__)
        key = resume.identity(__name__, None, [_state(path) for path in paths], *settings)
        parts = resume.Parts("prepare", key, asked.kept)
    keep = parts or resume.unkept
    with warnings.catch_warnings(), ThreadPoolExecutor() as pool:  # Pillow decodes outside the interpreter lock
        warnings.simplefilter("ignore")  # about unknown tags; what matters is refused
        for row in asked.progress(range(len(paths))):
            if row % TOGETHER == 0:
                rows = slice(row, row + TOGETHER)
                part = keep("images", partial(_read_some, paths[rows], data, pool))
                pixels[rows], reasons[rows] = part["pixels"], json.loads(part["reasons"].tobytes())
    if parts:
        parts.finish()
    return pixels, reasons


def _read_some(paths: Sequence[Path], data: Data, pool: ThreadPoolExecutor) -> dict[str, np.ndarray]:
    # If one raises, `map` cancels those that have not begun.
    images, reasons = zip(*pool.map(partial(_read_one, data=data), paths), strict=True)
    return {"pixels": np.stack(images), "reasons": np.frombuffer(json.dumps(reasons).encode(), np.uint8)}


def _read_one(path: Path, data: Data) -> tuple[np.ndarray, str]:
    try:
        return decode.read(path, decode.Shape.of(data), data.convert), ""
    except decode.UnreadableImage as error:
        if data.bad_images == "refuse":
            raise
        return np.zeros((data.image_size, data.image_size, 3), np.uint8), error.reason


def _state(path: Path) -> list[Any]:
    """What changes with a file's content, as far as can be known without reading it. Its time of change (ctime) cannot
    be set by hand."""
    status = path.stat() if user_paths.exists(path) else path.lstat()
    return [os.fsencode(path).hex(), status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def _refuse_emptied(files: Sequence[File], reasons: Sequence[str]) -> None:
    left = {file[:2] for file, reason in zip(files, reasons, strict=True) if not reason}
    for file, reason in zip(files, reasons, strict=True):
        if file[:2] not in left:
            where = f"class {file.class_name!r}" + (f" in the {file.split} split" if file.split else "")
            raise UserError(
                f"{where} has no image that can be read (the first, {shown(file.path)}, {reason}): repair its files, "
                "or remove its folder"
            )


def _find(root: Path) -> tuple[list[File], tuple[str, ...]]:
    """Every image in a fixed order, and the names of files that are none."""
    real = Path(os.path.realpath(root))
    entries = user_paths.entries(root, real)
    folders = [entry for entry in entries if _is_visible_folder(entry)]
    named = [folder for folder in folders if folder.name.lower() in FOLDERS]
    # A class may be called "test": only a folder that holds folders is a split.
    has_splits = "train" in [folder.name.lower() for folder in named] and all(
        any(user_paths.is_folder(inner) for inner in user_paths.entries(folder, real)) for folder in named
    )
    others = [shown(folder.name) for folder in folders if folder not in named]
    if has_splits and others:
        raise UserError(
            f"{shown(root)} holds the split folders {', '.join(folder.name for folder in named)} and beside them "
            f"{', '.join(others[:5])}{' …' if len(others) > 5 else ''}: it must hold either splits or classes"
        )
    skipped = [entry for entry in entries if not user_paths.is_folder(entry)]
    parts = [(FOLDERS[folder.name.lower()], folder) for folder in named] if has_splits else [(None, root)]
    endings = decode.endings()
    files: list[File] = []
    for split, part in parts:
        if has_splits:
            skipped += [entry for entry in user_paths.entries(part, real) if not user_paths.is_folder(entry)]
        for folder in filter(_is_visible_folder, user_paths.entries(part, real)):
            if any(category(letter) in user_paths.UNPRINTABLE for letter in folder.name):
                raise UserError(
                    f"the class folder {shown(folder)} has a control character in its name, or bytes that are not "
                    "UTF-8: rename it, because tables, figures and MLflow show that name"
                )
            before = len(files)
            for path in user_paths.below(folder, real):
                hidden = any(part[0] == "." for part in path.relative_to(folder).parts)
                if hidden or path.suffix.lower() not in endings:
                    skipped.append(path)
                else:
                    files.append(File(split, folder.name, path))
            if len(files) == before:
                raise UserError(f"the class folder {shown(folder)} holds no image: put images into it, or remove it")
    return files, tuple(_name(path, root) for path in skipped)


def _is_visible_folder(path: Path) -> bool:
    return path.name[0] != "." and user_paths.is_folder(path)


def _name(path: Path, root: Path) -> str:
    r"""A file's name for tables. A carriage return, which a CSV file cannot hold, becomes the escape \x0d, as bytes do
    that are not UTF-8; line breaks stay."""
    return user_paths.text_of(path.relative_to(root)).replace("\r", r"\x0d")
