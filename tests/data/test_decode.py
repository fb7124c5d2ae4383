import os
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torchvision
from conftest import ROOT
from image_files import BLUE, GREEN, RED
from PIL import Image

from glassbox.data import decode
from glassbox.data.decode import UnreadableImage

FRAMES = [Image.new("RGB", (9, 9), colour) for colour in (RED, BLUE)]


def read(path: Path, image: Image.Image | None = None, size: int = 9, resize: str = "stretch", **options) -> np.ndarray:
    """The pixels of a file, as int, which holds `image` if one is given; everything that can be is converted."""
    if image is not None:
        image.save(path, **options)
    return decode.read(path, decode.Shape(size, resize), ("16-bit", "cmyk", "animation")).astype(int)


def film(path: Path) -> None:
    FRAMES[0].save(path, save_all=True, append_images=FRAMES[1:])


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, bits: int = 8, rows: bytes | None = None, *more: bytes) -> bytes:
    """A colour PNG of any size in its header, with `rows` of pixels, or as many zeros, but at most 10,000."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 2, 0, 0, 0))
    rows = bytes(min(width * height * bits // 8 * 3 + height, 10_000)) if rows is None else rows
    content = b"".join(more) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + head + content


@pytest.mark.parametrize(
    ("name", "image", "colour", "tolerance"),
    [
        ("grey.png", Image.new("L", (9, 9), 77), 77, 0),
        ("palette.gif", Image.new("RGB", (9, 9), BLUE).quantize(4), BLUE, 2),
        ("bits.png", Image.new("1", (9, 9), 1), 255, 0),
        ("print.jpg", Image.new("CMYK", (9, 9), (0, 0, 0, 0)), 255, 2),
        ("lab.tif", Image.new("LAB", (9, 9), (255, 128, 128)), 255, 5),
        ("clear.png", Image.new("RGBA", (9, 9), (*RED, 0)), 255, 0),
        ("half.png", Image.new("RGBA", (9, 9), (0, 0, 0, 128)), 127, 1),
        ("la.png", Image.new("LA", (9, 9), (10, 255)), 10, 0),
        ("xray.png", Image.fromarray(np.full((9, 9), 0x8000, np.uint16)), 128, 1),
    ],
)
def test_every_mode_becomes_colour_on_white(name, image, colour, tolerance, tmp_path):
    assert np.abs(read(tmp_path / name, image) - colour).max() <= tolerance


@pytest.mark.parametrize(("low", "high"), [(-1, 1), (0, 0.1)])
def test_floats_fill_the_range(low, high, tmp_path):
    values = np.linspace(low, high, 81, dtype=np.float32).reshape(9, 9)
    pixels = read(tmp_path / "float.tiff", Image.fromarray(values))
    assert (pixels[0, 0, 0], pixels[-1, -1, 0], pixels.min(), pixels.max()) == (0, 255, 0, 255)


def test_16_bit_colours_are_scaled_and_the_first_frame_is_taken(tmp_path):
    film(tmp_path / "film.gif")
    assert np.abs(read(tmp_path / "film.gif") - RED).max() <= 2
    rows = b"".join(b"\0" + struct.pack(">27H", *range(0, 54_000, 2000)) for _ in range(9))
    (tmp_path / "deep.png").write_bytes(png(9, 9, 16, rows))
    assert np.abs(read(tmp_path / "deep.png")[4].ravel() - np.arange(0, 54_000, 2000) * 255 / 65535).max() <= 1


def test_the_exif_rotation_is_applied(tmp_path):
    image = Image.new("RGB", (16, 8), RED)
    image.paste(BLUE, (0, 0, 8, 8))  # left half
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise
    turned = read(tmp_path / "photo.png", image, 8, exif=exif)
    assert np.abs(turned[0, 4] - BLUE).max() < 20  # what was left is now on top
    assert np.abs(turned[7, 4] - RED).max() < 20


def test_resize(tmp_path):
    image = Image.new("RGB", (24, 8), RED)
    image.paste(GREEN, (8, 0, 16, 8))  # the middle third
    path = tmp_path / "wide.png"
    assert np.abs(read(path, image, 8, "crop")[:, 2:6] - GREEN).max() <= 12
    assert np.abs(read(path, image, 24, "stretch")[:, 2] - RED).max() <= 2
    padded = read(path, image, 24, "pad")
    assert padded[0, 0].tolist() == np.round((2 * np.array(RED) + np.array(GREEN)) / 3).tolist()
    assert np.abs(padded[12, 2] - RED).max() <= 2


def test_the_documentation_lists_the_formats():
    page = " ".join((ROOT / "docs/own-images.md").read_text().split())
    (listed,) = re.findall(r"Formats are ([^;]*);", page)
    named = listed.replace(" and ", ", ").replace("JPEG 2000", "JPEG2000").upper().split(", ")
    assert tuple(named) == decode.FORMATS
    assert decode.formats() == list(decode.FORMATS)  # the locked Pillow has all


DAMAGED = "cannot be read as an image ({}): repair or remove it"
NOWHERE = "is a symbolic link to {}, which leads nowhere: repair or remove it"
MISNAMED = "is a {} image by its content, but {}: give it the right ending"
DEEP = "has more than 8 bits a channel: add 16-bit to data.convert to have them scaled to 8"
MOVING = "has more than one frame or page: add animation to data.convert to have the first one taken"
PRINT = "is a CMYK image: add cmyk to data.convert to have it turned into RGB"
UNKNOWN = f"its content is in none of the formats {', '.join(decode.formats())}"
SIZE = "Image size ({} pixels) exceeds limit of {} pixels, could be decompression bomb DOS attack"
BOMB = f"is too large ({SIZE}): make it smaller or remove it"
LIMIT = Image.MAX_IMAGE_PIXELS
TEXT_TOO_LARGE = "Decompressed data too large for PngImagePlugin.MAX_TEXT_CHUNK"
NO_EXIF = "unpack requires a buffer of 4 bytes"
TEXT_BOMB = chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(2_000_000)))


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    ("name", "write", "sentence"),
    [
        ("a.png", Path.touch, "is empty: replace or remove it"),
        ("a.png", lambda path: path.write_bytes(b"no image"), DAMAGED.format(UNKNOWN)),
        ("a.png", lambda path: path.write_bytes(png(90, 90)[:60]), DAMAGED.format("image file is truncated")),
        ("a.png", lambda path: path.write_bytes(png(9, 9, 8, None, TEXT_BOMB)), DAMAGED.format(TEXT_TOO_LARGE)),
        ("a.png", lambda path: FRAMES[0].save(path, exif=b"Exif\0\0MM\0*"), DAMAGED.format(NO_EXIF)),
        # Pillow warns about the first, and refuses the second.
        ("a.png", lambda path: path.write_bytes(png(10_000, 10_000)), BOMB.format(10_000**2, LIMIT)),
        ("a.png", lambda path: path.write_bytes(png(60_000, 60_000)), BOMB.format(60_000**2, 2 * LIMIT)),
        # For EPS, Pillow would start Ghostscript.
        ("a.png", lambda path: FRAMES[0].save(path, "EPS"), DAMAGED.format(UNKNOWN)),
        ("a.eps", lambda path: FRAMES[0].save(path, "EPS"), DAMAGED.format(UNKNOWN)),
        ("a.jpg", lambda path: path.write_bytes(png(9, 9)), MISNAMED.format("PNG", "is called .jpg")),
        ("a.PNG", lambda path: FRAMES[0].save(path, "JPEG"), MISNAMED.format("JPEG", "is called .png")),
        ("a", lambda path: FRAMES[0].save(path, "PNG"), MISNAMED.format("PNG", "its name has no ending")),
        ("a.", lambda path: FRAMES[0].save(path, "PNG"), MISNAMED.format("PNG", "its name has no ending")),
        (".a", lambda path: FRAMES[0].save(path, "PNG"), MISNAMED.format("PNG", "its name has no ending")),
        ("a.png", lambda path: path.symlink_to("nowhere.png"), NOWHERE.format("nowhere.png")),
        ("a.png", lambda path: path.symlink_to("/no/such"), NOWHERE.format("/no/such")),
        ("a.png", lambda path: path.symlink_to("a.png"), NOWHERE.format("a.png")),
        ("a.png", os.mkfifo, "is no regular file: remove it"),
        ("a.jpg", Image.new("CMYK", (9, 9)).save, PRINT),
        ("a.png", Image.fromarray(np.zeros((9, 9), np.uint16)).save, DEEP),
        ("a.tif", Image.fromarray(np.zeros((9, 9), np.int32)).save, DEEP),
        ("a.tif", Image.fromarray(np.zeros((9, 9), np.float32)).save, DEEP),
        ("a.png", lambda path: path.write_bytes(png(9, 9, 16)), DEEP),
        *((f"a.{ending}", film, MOVING) for ending in ("gif", "png", "apng", "webp", "tif", "avif")),
    ],
)
def test_an_unusable_file_is_refused_with_the_reason(name, write, sentence, tmp_path, capfd):
    write(tmp_path / name)
    with pytest.raises(UnreadableImage) as refused:
        decode.read(tmp_path / name, decode.Shape(8))
    assert str(refused.value) == f"{tmp_path / name} {sentence}, or set data.bad_images to skip"
    assert refused.value.reason == sentence.rpartition(": ")[0]
    assert capfd.readouterr().err == ""


def test_floats_that_are_no_numbers_are_refused(tmp_path):
    with pytest.raises(UnreadableImage, match=r"cannot be read as an image \(it has values that are no numbers\)"):
        read(tmp_path / "f.tif", Image.fromarray(np.full((9, 9), np.nan, np.float32)))


ENDINGS = ["jpeg", "jpe", "jfif", "JPG", "tif", "tiff", "apng", "bmp", "webp", "avif", "jp2", "ppm", "tga", "ico"]


@pytest.mark.parametrize(
    ("name", "write"),
    [
        *((f"a.{ending}", FRAMES[0].save) for ending in ENDINGS),
        ("a.gif", FRAMES[0].save),
        ("a.dib", FRAMES[0].save),
        ("phone.jpg", lambda path: FRAMES[0].save(path, "MPO", save_all=True, append_images=FRAMES[1:])),
        ("a.dib", lambda path: FRAMES[0].save(path, "BMP")),
        ("a.gif", lambda path: FRAMES[0].save(path, save_all=True)),
        ("grey.pgm", Image.new("L", (9, 9), 87).save),
    ],
)
def test_fitting_endings_and_contents_are_accepted(name, write, tmp_path):
    write(tmp_path / name)
    expected = 87 if name == "grey.pgm" else RED  # of the phone's two pictures the first
    assert np.abs(decode.read(tmp_path / name, decode.Shape(8)).astype(int) - expected).max() < 20
    assert Path(name).suffix.lower() in decode.endings()


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(
    ("width", "height", "shorter", "size"), [(61, 40, 32, 28), (40, 61, 37, 28), (32, 45, 32, 31), (90, 33, 35, 35)]
)
def test_a_crop_of_the_resized_image_is_that_of_torchvision(tmp_path, interpolation, width, height, shorter, size):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))
    image.save(tmp_path / "photo.png")
    kind = torchvision.transforms.InterpolationMode(interpolation)
    steps = [torchvision.transforms.Resize(shorter, kind), torchvision.transforms.CenterCrop(size)]
    expected = np.asarray(torchvision.transforms.Compose(steps)(image))
    shape = decode.Shape(size, interpolation=interpolation, shorter_side=shorter)
    assert np.array_equal(decode.read(tmp_path / "photo.png", shape), expected)


def test_an_image_that_would_become_too_long_is_refused(tmp_path):
    Image.new("RGB", (40_000, 10)).save(tmp_path / "strip.png")
    sentence = r"is too large \(resized to data.shorter_side it would have 1024000 x 256 pixels"
    with pytest.raises(UnreadableImage, match=sentence):
        decode.read(tmp_path / "strip.png", decode.Shape(224, shorter_side=256))
    assert decode.read(tmp_path / "strip.png", decode.Shape(224)).shape == (224, 224, 3)
    assert decode.read_whole(tmp_path / "strip.png").size == (40_000, 10)
