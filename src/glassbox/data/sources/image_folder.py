r"""Any folder of images with a sub-folder for each class.

A file that has an image's ending and cannot be taken as an image, for whatever reason, is refused in one sentence, or
left out and listed. Nothing outside of the folder is ever read.
"""

import ctypes
import json
import logging
import os
import re
import stat
import warnings
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from textwrap import shorten
from typing import Any
from unicodedata import category

import numpy as np
import PIL
from PIL import Image, ImageOps, UnidentifiedImageError

from glassbox.core.errors import UserError
from glassbox.data import groups, user_paths
from glassbox.data.base import Asked, Images
from glassbox.data.user_paths import shown
from glassbox.provenance import resume

SPLIT_FOLDERS = {
    "train": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}
WHITE = (255, 255, 255)
TOGETHER = 64  # images that are read at a time; no more are lost when the process is killed
# All that photos and drawings come in. What else Pillow opens is left alone: for EPS it starts Ghostscript.
FORMATS = ("AVIF", "BMP", "DIB", "GIF", "ICO", "JPEG", "JPEG2000", "PNG", "PPM", "PSD", "TGA", "TIFF", "WEBP")
SAME_FORMAT = {"MPO": "JPEG", "DIB": "BMP"}  # a phone's .jpg that has a second picture inside; a BMP without its head
STILL = ("MPO", "PSD")  # their further frames are other views of the picture, or its layers
DEEP = re.compile(r"(L|LA|RGB|RGBA|RGBX|CMYK);16[BLN]")  # how Pillow reads colours of 16 bits, of which it keeps eight

logging.getLogger("PIL").addHandler(logging.NullHandler())  # what it says of damaged files comes as an exception, too


class UnreadableImage(UserError):
    """A file with an image's ending that cannot be taken as an image.

    Attributes:
        reason: what is wrong with it, a phrase that follows its name.
    """

    def __init__(self, path: str | Path, reason: str, remedy: str = "repair or remove it") -> None:
        super().__init__(f"{shown(path)} {reason}: {remedy}, or set data.bad_images to skip")
        self.reason = reason


def source(asked: Asked) -> Images:
    """See `loading.load_source`."""
    data = asked.data
    how = {"bad_images": data.bad_images, "convert": data.convert, "kept": asked.kept, "grouped": data.groups}
    return load(data.path, data.image_size, data.resize, asked.progress, **how)


def load(
    folder: str | Path | None,
    image_size: int,
    resize: str,
    progress: Callable[[Iterable], Iterable] = iter,
    bad_images: str = "refuse",
    convert: Collection[str] = (),
    kept: str | Path | None = None,
    grouped: str | None = None,
) -> Images:
    """Images under folder/CLASS/, or under folder/train/CLASS/ and folder/test/CLASS/ (and folder/val/CLASS/).

    Formats are those of `FORMATS`. Grey, palette and other modes become RGB, transparency is laid on white, the
    camera's EXIF rotation is applied. Files with other endings, hidden files and files beside the class folders are
    skipped and listed.

    Args:
        folder: the root.
        image_size: side of the resulting square, pixels.
        resize: "crop" the centre, "pad" with the image's mean colour, or "stretch".
        progress: wraps the iteration over the files, as tqdm does.
        bad_images: "refuse" the first image that cannot be taken, in the order of the names, or "skip" and list all.
        convert: what is converted where it would be refused, see `read`.
        kept: folder where images are kept as soon as they are read, for the next process when this one is killed; None
            keeps nothing.
        grouped: which images belong together, see `groups.read`; None = every image stands for itself.

    Raises:
        UserError: no such folder, fewer than two classes, a class without an image or whose name is no text, a link
            that leads out of the folder, a folder that must not be read, an image without a group, or an unreadable
            image, which is named.
    """
    if folder is None:
        raise UserError("data.path is null: with data.source = image_folder it must name the folder of the images")
    root = user_paths.folder("data.path", folder, "a sub-folder of images for each class")
    files, skipped = _find(root)
    classes = tuple(sorted({name for _, name, _ in files}))
    if len(classes) < 2:
        raise UserError(
            f"data.path = {str(folder)!r} has images of {len(classes)} classes: it must hold a sub-folder of images "
            "for each of at least two classes"
        )
    names = [_name(path, root) for _, _, path in files]
    group_of = None if grouped is None else groups.read(grouped, names, root)
    pixels = np.empty((len(files), image_size, image_size, 3), np.uint8)
    reasons: dict[int, str] = {}

    def one(row: int) -> tuple[np.ndarray | None, str]:
        try:
            return read(files[row][2], image_size, resize, convert), ""
        except UnreadableImage as error:
            if bad_images == "refuse":
                raise
            return None, error.reason

    def some(rows: range) -> dict[str, np.ndarray]:
        jobs = [pool.submit(one, row) for row in rows]
        try:
            images, told = zip(*(job.result() for job in jobs), strict=True)
        except BaseException:  # one broken image is enough to know, and Ctrl-C is meant
            pool.shutdown(cancel_futures=True)
            raise
        blank = np.zeros((image_size, image_size, 3), np.uint8)
        there = np.stack([blank if image is None else image for image in images])
        return {"pixels": there, "reasons": np.frombuffer(json.dumps(told).encode(), np.uint8)}

    work = None
    if kept is not None:
        states = [_state(path) for _, _, path in files]
        key = resume.identity(__name__, None, states, image_size, resize, bad_images, sorted(convert), PIL.__version__)
        work = resume.Parts("prepare", key, kept)
    keep = work or resume.unkept
    _silence_libtiff()
    with warnings.catch_warnings(), ThreadPoolExecutor() as pool:  # Pillow decodes outside the interpreter lock
        warnings.simplefilter("ignore")  # of tags that nobody needs; what matters is refused
        for row in progress(range(len(files))):
            if row % TOGETHER == 0:
                rows = range(row, min(row + TOGETHER, len(files)))
                part = keep("images", lambda rows=rows: some(rows))
                pixels[rows.start : rows.stop] = part["pixels"]
                told = zip(rows, json.loads(part["reasons"].tobytes()), strict=True)
                reasons |= {number: reason for number, reason in told if reason}
    if work:
        work.finish()
    unreadable = tuple((names[row], reasons[row]) for row in sorted(reasons))
    if unreadable:
        kept = [row for row in range(len(files)) if row not in reasons]
        _refuse_emptied(files, kept, reasons)
        pixels, files, names = pixels[kept], [files[row] for row in kept], [names[row] for row in kept]
        group_of = None if group_of is None else group_of[kept]
    splits = [split for split, _, _ in files]
    return Images(
        pixels=pixels,
        labels=np.array([classes.index(name) for _, name, _ in files], np.int64),
        classes=classes,
        splits=np.array(splits) if splits[0] is not None else None,
        names=tuple(names),
        groups=group_of,
        skipped=skipped,
        unreadable=unreadable,
    )


def _state(path: Path) -> list[Any]:
    """What changes when a file does, as far as can be known without reading it; its time of change cannot be set."""
    status = path.stat() if user_paths.exists(path) else path.lstat()
    return [os.fsencode(path).hex(), status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


File = tuple[str | None, str, Path]  # split, class, path


def _refuse_emptied(files: list[File], kept: list[int], reasons: dict[int, str]) -> None:
    left = {files[row][:2] for row in kept}
    for row in sorted(reasons):
        split, name, path = files[row]
        if (split, name) not in left:
            where = f"class {name!r}" if split is None else f"class {name!r} in the {split} split"
            raise UserError(
                f"{where} has no image that can be read (the first, {shown(path)}, {reasons[row]}): repair its files, "
                "or remove its folder"
            )


def _find(root: Path) -> tuple[list[File], tuple[str, ...]]:
    """Every image in a fixed order, and the names of files that are none."""
    real = Path(os.path.realpath(root))
    entries = _entries(root, real)
    children = {entry.name: entry for entry in entries if _is_visible_folder(entry)}
    named = [name for name in children if name.lower() in SPLIT_FOLDERS]
    # A class may be called "test": only a folder that holds folders is a split.
    has_splits = "train" in [name.lower() for name in named] and all(
        any(user_paths.is_folder(inner) for inner in _entries(children[name], real)) for name in named
    )
    if has_splits and len(named) < len(children):
        others = [shown(name) for name in sorted(set(children) - set(named))]
        listed = f"{', '.join(others[:5])}{' …' if len(others) > 5 else ''}"
        raise UserError(
            f"{shown(root)} holds the split folders {', '.join(named)} and beside them {listed}: it must hold either "
            "splits or classes"
        )
    skipped = [entry for entry in entries if not user_paths.is_folder(entry)]
    parts = [(SPLIT_FOLDERS[name.lower()], children[name]) for name in named] if has_splits else [(None, root)]
    endings = {ending for ending, format in Image.registered_extensions().items() if format in _formats()}
    files: list[File] = []
    for split, part in parts:
        if has_splits:
            skipped += [entry for entry in _entries(part, real) if not user_paths.is_folder(entry)]
        for folder in filter(_is_visible_folder, _entries(part, real)):
            _check_class_name(folder)
            before = len(files)
            for path in _below(folder, real):
                hidden = any(part[0] == "." for part in path.relative_to(folder).parts)
                if hidden or path.suffix.lower() not in endings:
                    skipped.append(path)
                else:
                    files.append((split, folder.name, path))
            if len(files) == before:
                raise UserError(f"the class folder {shown(folder)} holds no image: put images into it, or remove it")
    return files, tuple(_name(path, root) for path in skipped)


def _is_visible_folder(path: Path) -> bool:
    return path.name[0] != "." and user_paths.is_folder(path)


def _check_class_name(folder: Path) -> None:
    if any(category(letter) in user_paths.UNPRINTABLE for letter in folder.name):
        raise UserError(
            f"the class folder {shown(folder)} has a control character in its name, or bytes that are not UTF-8: "
            "rename it, for tables, figures and MLflow call the class by that name"
        )


def _entries(folder: Path, real: Path) -> list[Path]:
    """What lies in a folder, by name; nothing that a link takes from outside of `real`, the resolved root."""
    try:
        entries = sorted(folder.iterdir())
        # A link that leads nowhere is no way out: called like an image, it is one that cannot be read.
        links = [entry for entry in entries if entry.is_symlink() and user_paths.exists(entry)]
    except OSError as error:
        raise UserError(
            f"the folder {shown(folder)} cannot be read ({error.strerror}): you must be allowed to list and to enter it"
        ) from None
    for link in links:
        target = Path(os.path.realpath(link))
        if not target.is_relative_to(real):
            raise UserError(
                f"{shown(link)} is a symbolic link to {shown(target)}, which is outside of the images' folder "
                f"{shown(real)}: put a copy in its place, or remove it"
            )
    return entries


def _below(folder: Path, real: Path) -> list[Path]:
    """Every file below a folder, however deep. Links to folders are not followed: they could lead round in circles."""
    found, pending = [], [folder]
    while pending:
        for entry in _entries(pending.pop(), real):
            is_folder = user_paths.is_folder(entry) and not entry.is_symlink()
            (pending if is_folder else found).append(entry)
    return sorted(found)


def _name(path: Path, root: Path) -> str:
    r"""A file's name for tables. A carriage return, which a CSV file cannot hold, is an escape as bytes that are not
    UTF-8 are; line breaks stay."""
    return user_paths.text_of(path.relative_to(root)).replace("\r", r"\x0d")


def read(path: str | Path, image_size: int, resize: str, convert: Collection[str] = ()) -> np.ndarray:
    """One image file as (image_size, image_size, 3) uint8.

    Args:
        path: of the file; its ending must be one of the format that it has.
        image_size: side of the square, pixels.
        resize: "crop", "pad" or "stretch".
        convert: out of "16-bit" (more than eight bits a channel are scaled to eight), "cmyk" (to RGB, without a colour
            profile) and "animation" (the first frame or page is taken), what is not refused.

    Raises:
        UnreadableImage: the file cannot be read as an image, or must not; the message names it and the reason.
    """
    path = Path(path)
    try:
        _check_file(path)
        with Image.open(path, formats=_formats()) as image:
            _check_image(image, path, convert)
            return np.asarray(square(_rgb(ImageOps.exif_transpose(image)), image_size, resize))
    except UnreadableImage:
        raise
    except Image.DecompressionBombError as error:
        raise UnreadableImage(path, f"is too large ({_why(error)})", "make it smaller or remove it") from None
    except Exception as error:  # a damaged file can raise anything: a header cut short, struct.error
        raise UnreadableImage(path, f"cannot be read as an image ({_why(error)})") from None


def _formats() -> list[str]:
    """Those of `FORMATS` that this machine's Pillow was built with."""
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def _check_file(path: Path) -> None:
    if path.is_symlink() and not user_paths.exists(path):
        raise UnreadableImage(path, f"is a symbolic link to {shown(path.readlink())}, which leads nowhere")
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):  # to open a pipe would be to wait for ever
        raise UnreadableImage(path, "is no regular file", "remove it")
    if status.st_size == 0:
        raise UnreadableImage(path, "is empty", "replace or remove it")


def _check_image(image: Image.Image, path: Path, convert: Collection[str]) -> None:
    """Refuse what is not to be decoded, from the header alone."""
    n, limit = image.width * image.height, Image.MAX_IMAGE_PIXELS
    if limit is not None and n > limit:  # up to twice as many Pillow only warns
        raise Image.DecompressionBombError(
            f"Image size ({n} pixels) exceeds limit of {limit} pixels, could be decompression bomb DOS attack."
        )
    ending = path.suffix.lower()
    called = Image.registered_extensions().get(ending)
    if SAME_FORMAT.get(image.format, image.format) != SAME_FORMAT.get(called, called):
        named = f"is called {shown(ending)}" if ending else "its name has no ending"
        raise UnreadableImage(
            path, f"is a {image.format} image by its content, but {named}", "give it the right ending"
        )
    if "animation" not in convert and image.format not in STILL and getattr(image, "is_animated", False):
        raise UnreadableImage(
            path, "has more than one frame or page", "add animation to data.convert to have the first one taken"
        )
    if "16-bit" not in convert and _is_deep(image):
        raise UnreadableImage(
            path, "has more than 8 bits a channel", "add 16-bit to data.convert to have them scaled to 8"
        )
    if "cmyk" not in convert and image.mode == "CMYK":
        raise UnreadableImage(path, "is a CMYK image", "add cmyk to data.convert to have it turned into RGB")


def _is_deep(image: Image.Image) -> bool:
    kinds = [str(part) for tile in image.tile for part in (tile[3] if isinstance(tile[3], tuple) else tile[3:])]
    return image.mode.startswith("I;16") or image.mode in ("I", "F") or any(map(DEEP.fullmatch, kinds))


def _why(error: Exception) -> str:
    """What Pillow says of a damaged file, in a few words."""
    if isinstance(error, UnidentifiedImageError):
        return f"its content is in none of the formats {', '.join(_formats())}"
    said = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return shorten(user_paths.one_line(said.rstrip(".")), 200, placeholder=" …")


@cache
def _silence_libtiff() -> None:
    """libtiff would write to stderr what is wrong with a damaged file; Pillow silences its warnings, not its errors."""
    for folder in (Path(PIL.__file__).parent.parent / "pillow.libs", Path(PIL.__file__).parent / ".dylibs"):
        for library in folder.glob("libtiff*"):  # the very one that Pillow has loaded; none where it is the system's
            ctypes.CDLL(str(library)).TIFFSetErrorHandler(None)


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        # Pillow's own conversion clips these at 255: a 16-bit X-ray would become white. 16 bits fill 0..65535; for
        # wider types, whose range no header tells, the image's own range is used.
        values = np.asarray(image).astype(np.float64)
        if not np.isfinite(values).all():
            raise ValueError("it has values that are no numbers")
        low, high = (0.0, 65535.0) if image.mode.startswith("I;16") else (values.min(), values.max())
        image = Image.fromarray(np.round((values - low) * (255 / ((high - low) or 1))).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        canvas = Image.new("RGBA", image.size, (*WHITE, 255))
        image = Image.alpha_composite(canvas, image)
    return image.convert("RGB")


def square(image: Image.Image, size: int, resize: str) -> Image.Image:
    target, method = (size, size), Image.Resampling.BICUBIC
    if resize == "stretch":
        return image.resize(target, method)
    if resize == "pad":
        colour = tuple(int(value) for value in np.asarray(image).reshape(-1, 3).mean(axis=0).round())
        return ImageOps.pad(image, target, method, color=colour)
    return ImageOps.fit(image, target, method)
