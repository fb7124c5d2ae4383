"""One image file as a square RGB array, or a sentence why not."""

import ctypes
import logging
import re
import stat
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from textwrap import shorten

import numpy as np
import PIL
from PIL import Image, ImageOps, UnidentifiedImageError

from glassbox.config.data import Data
from glassbox.core.errors import UserError
from glassbox.data import user_paths
from glassbox.data.user_paths import shown

WHITE = (255, 255, 255)
# The formats of photos and drawings. Pillow opens more, but for EPS it starts Ghostscript.
FORMATS = ("AVIF", "BMP", "DIB", "GIF", "ICO", "JPEG", "JPEG2000", "PNG", "PPM", "PSD", "TGA", "TIFF", "WEBP")
SAME_FORMAT = {"MPO": "JPEG", "DIB": "BMP"}  # a phone's .jpg with a second picture inside; a BMP without file header
KEEP_VALUES = ("BMP", "GIF", "PNG", "PPM", "TGA", "TIFF")  # formats of masks: WebP and others may change values
STILL = ("MPO", "PSD")  # their further frames are other views of the picture, or its layers
DEEP = re.compile(r"(L|LA|RGB|RGBA|RGBX|CMYK);16[BLN]")  # raw modes of 16 bits, which Pillow reduces to eight

logging.getLogger("PIL").addHandler(logging.NullHandler())  # what it logs of damaged files is raised as well


class UnreadableImage(UserError):
    """A file with an image's ending that cannot be used as an image; `reason` is a phrase that follows its name."""

    def __init__(self, path: str | Path, reason: str, remedy: str = "repair or remove it") -> None:
        super().__init__(f"{shown(path)} {reason}: {remedy}, or set data.bad_images to skip")
        self.reason = reason


@dataclass(frozen=True)
class Shape:
    """How an image of any size becomes a square.

    Attributes:
        size: side of the square, pixels.
        resize: "crop" the centre, "pad" with the image's mean colour, or "stretch".
        interpolation: "bicubic" or "bilinear", as Pillow has them.
        shorter_side: with "crop", pixels to which the shorter side is resized before the centre is cut out, as in the
            evaluation transforms of torchvision and timm; None cuts the largest square and resizes that.
    """

    size: int
    resize: str = "crop"
    interpolation: str = "bicubic"
    shorter_side: int | None = None

    @staticmethod
    def of(data: Data) -> "Shape":
        """That of a study."""
        return Shape(data.image_size, data.resize, data.interpolation, data.shorter_side)


def read(path: str | Path, shape: Shape, convert: Collection[str] = ()) -> np.ndarray:
    """One image file as (size, size, 3) uint8.

    Grey, palette and other modes become RGB, transparent pixels white, and the EXIF rotation is applied.

    Args:
        path: the file, whose ending must fit its format.
        shape: of the result.
        convert: what is converted instead of refused: "16-bit" (more than eight bits a channel are scaled to eight),
            "cmyk" (to RGB, without a colour profile) and "animation" (the first frame or page is taken).

    Raises:
        UnreadableImage: the file cannot be read as an image, or is not accepted.
    """
    with _faults_named(path := Path(path)):
        return np.asarray(square(_opened(path, convert), shape))


def read_whole(path: str | Path, convert: Collection[str] = ()) -> Image.Image:
    """One image file in its own size, otherwise as `read` gives it."""
    with _faults_named(path := Path(path)):
        return _opened(path, convert)


@contextmanager
def _faults_named(path: Path) -> Iterator[None]:
    """Errors about a file in the block become an `UnreadableImage`."""
    try:
        yield
    except UnreadableImage:
        raise
    except Image.DecompressionBombError as error:
        raise UnreadableImage(path, f"is too large ({_why(error)})", "make it smaller or remove it") from None
    except Exception as error:  # a damaged file can raise anything: a header cut short, struct.error
        raise UnreadableImage(path, f"cannot be read as an image ({_why(error)})") from None


def _opened(path: Path, convert: Collection[str]) -> Image.Image:
    """A file's image in RGB, with its EXIF rotation applied."""
    _silence_libtiff()
    _check_file(path)
    with Image.open(path, formats=formats()) as image:
        _check_image(image, path, convert)
        return _rgb(ImageOps.exif_transpose(image))


def square(image: Image.Image, shape: Shape, method: Image.Resampling | None = None) -> Image.Image:
    """An image as a square; `method` takes the place of the interpolation. The padding of one without colours is 0.

    Raises:
        Image.DecompressionBombError: with a `shorter_side` the other one would be too long for memory.
    """
    target, method = (shape.size, shape.size), method or Image.Resampling[shape.interpolation.upper()]
    if shape.resize == "stretch":
        return image.resize(target, method)
    if shape.resize == "pad":
        mean = np.asarray(image).reshape(-1, 3).mean(axis=0).round() if image.mode == "RGB" else [0]
        return ImageOps.pad(image, target, method, color=tuple(int(value) for value in mean))
    if shape.shorter_side is None:
        return ImageOps.fit(image, target, method)
    shorter = min(image.size)
    width, height = (int(shape.shorter_side * side / shorter) for side in image.size)  # rounded down, as torchvision's
    if Image.MAX_IMAGE_PIXELS is not None and width * height > Image.MAX_IMAGE_PIXELS:
        raise Image.DecompressionBombError(f"resized to data.shorter_side it would have {width} x {height} pixels")
    left, upper = (round((side - shape.size) / 2) for side in (width, height))
    resized = image if (width, height) == image.size else image.resize((width, height), method)
    return resized.crop((left, upper, left + shape.size, upper + shape.size))


def covered(mask: np.ndarray, shape: Shape) -> np.ndarray:
    """The pixels (size, size) bool of `square` onto which a marked pixel of a mask (H, W) bool falls, whole or in part:
    a mark of one pixel is not lost unless it is cut off."""
    image = Image.fromarray(mask.astype(np.float32))
    marked = np.asarray(square(image, shape, Image.Resampling.BOX)) > 0
    if not marked.any():  # a pixel whose centre lies on the border of two may count for neither
        marked = np.asarray(square(image, shape, Image.Resampling.BILINEAR)) > 0
    return marked


def read_values(path: str | Path) -> np.ndarray:
    """The values of a mask file as they are stored: (H, W), of a palette its numbers; of colours (H, W, 3).

    Raises:
        UserError: it is damaged, or in a format or mode that does not keep values.
    """
    path = Path(path)
    _silence_libtiff()
    try:
        _check_file(path)
        with Image.open(path, formats=formats()) as image:
            _check_image(image, path, ("16-bit",))
            _check_mask(image, path)
            values = np.asarray(image)
    except UnreadableImage as error:
        raise UserError(f"data.masks: {shown(path)} {error.reason}: repair or remove it") from None
    except Image.DecompressionBombError as error:
        raise UserError(f"data.masks: {shown(path)} is too large ({_why(error)})") from None
    except Exception as error:  # a damaged file can raise anything, see `read`
        raise UserError(f"data.masks: {shown(path)} cannot be read as an image ({_why(error)})") from None
    return values[..., :3] if values.ndim == 3 else values


def _check_mask(image: Image.Image, path: Path) -> None:
    lossy = image.format not in KEEP_VALUES or image.info.get("compression") == "jpeg"
    if lossy:
        raise UnreadableImage(path, f"is a {image.format} image, whose compression can change values, but must be PNG")
    if image.mode not in ("1", "L", "P", "RGB", "RGBA") and not _is_wide(image):
        raise UnreadableImage(path, f"has the mode {image.mode}, but must be black and white, grey, a palette or RGB")
    if image.mode == "RGBA" and image.getextrema()[3][0] < 255:
        raise UnreadableImage(path, "has transparent pixels, but must have a value everywhere")


def formats() -> list[str]:
    """The `FORMATS` that this machine's Pillow was built with."""
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def endings() -> set[str]:
    """The file endings of these formats, in lower case."""
    return {ending for ending, name in Image.registered_extensions().items() if name in formats()}


def _check_file(path: Path) -> None:
    if path.is_symlink() and not user_paths.exists(path):
        raise UnreadableImage(path, f"is a symbolic link to {shown(path.readlink())}, which leads nowhere")
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):  # opening a pipe would block for ever
        raise UnreadableImage(path, "is no regular file", "remove it")
    if status.st_size == 0:
        raise UnreadableImage(path, "is empty", "replace or remove it")


def _check_image(image: Image.Image, path: Path, convert: Collection[str]) -> None:
    """Refuse what must not be decoded, from the header alone."""
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
    if "16-bit" not in convert and (_is_wide(image) or any(map(DEEP.fullmatch, _raw_modes(image)))):
        raise UnreadableImage(
            path, "has more than 8 bits a channel", "add 16-bit to data.convert to have them scaled to 8"
        )
    if "cmyk" not in convert and image.mode == "CMYK":
        raise UnreadableImage(path, "is a CMYK image", "add cmyk to data.convert to have it turned into RGB")


def _is_wide(image: Image.Image) -> bool:
    return image.mode.startswith("I;16") or image.mode in ("I", "F")


def _raw_modes(image: Image.Image) -> list[str]:
    """How the pixels lie in the file, in Pillow's terms, among the other arguments of its decoder."""
    return [str(part) for tile in image.tile for part in (tile[3] if isinstance(tile[3], tuple) else tile[3:])]


def _why(error: Exception) -> str:
    """Pillow's message about a damaged file, shortened."""
    if isinstance(error, UnidentifiedImageError):
        return f"its content is in none of the formats {', '.join(formats())}"
    message = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return shorten(user_paths.one_line(message.rstrip(".")), 200, placeholder=" …")


@cache
def _silence_libtiff() -> None:
    """Keep libtiff from writing errors to stderr; Pillow silences its warnings only."""
    for folder in (Path(PIL.__file__).parent.parent / "pillow.libs", Path(PIL.__file__).parent / ".dylibs"):
        for library in folder.glob("libtiff*"):  # the copy that Pillow has loaded; none if it is the system's
            ctypes.CDLL(str(library)).TIFFSetErrorHandler(None)


def _rgb(image: Image.Image) -> Image.Image:
    if _is_wide(image):
        # Pillow would clip these at 255, and a 16-bit X-ray would become white. 16 bits fill 0..65535; wider types
        # have no range in the header, so the image's own is used.
        values = np.asarray(image).astype(np.float64)
        if not np.isfinite(values).all():
            raise ValueError("it has values that are no numbers")
        low, high = (0.0, 65535.0) if image.mode.startswith("I;16") else (values.min(), values.max())
        image = Image.fromarray(np.round((values - low) * (255 / ((high - low) or 1))).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        canvas = Image.new("RGBA", image.size, (*WHITE, 255))
        image = Image.alpha_composite(canvas, image)
    return image.convert("RGB")
