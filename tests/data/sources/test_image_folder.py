import os
import re
import stat
import struct
import subprocess
import sys
import warnings
import zlib
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pytest
from conftest import ROOT
from PIL import EpsImagePlugin, Image

from glassbox.core.errors import UserError
from glassbox.data.sources import image_folder

RED, GREEN, BLUE = (200, 30, 30), (30, 200, 30), (30, 30, 200)


def save(path, image, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)


@pytest.fixture
def folder(tmp_path):
    for name, colour in (("cats", RED), ("dogs", GREEN)):
        for number in range(3):
            save(tmp_path / "pets" / name / f"{number}.png", Image.new("RGB", (20 + number, 10), colour))
    return tmp_path / "pets"


def test_a_folder_without_splits(folder):
    (folder / "cats" / "notes.txt").write_text("no image")
    (folder / "cats" / ".hidden.png").write_text("no image")
    images = image_folder.load(folder, 8, "crop")
    assert images.classes == ("cats", "dogs")
    assert images.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert images.splits is None
    assert images.names[0] == "cats/0.png"
    assert sorted(images.skipped) == ["cats/.hidden.png", "cats/notes.txt"]
    assert images.unreadable == ()
    assert images.pixels.shape == (6, 8, 8, 3)
    assert images.pixels[0, 0, 0].tolist() == list(RED)


def test_a_folder_with_splits(tmp_path):
    for split in ("train", "val", "test"):
        for name, colour in (("cats", RED), ("dogs", GREEN)):
            save(tmp_path / "split" / split / name / "a.png", Image.new("RGB", (9, 9), colour))
    images = image_folder.load(tmp_path / "split", 8, "crop")
    assert sorted(images.splits.tolist()) == ["test"] * 2 + ["train"] * 2 + ["validation"] * 2
    assert images.classes == ("cats", "dogs")
    (tmp_path / "split" / "birds" / "x").mkdir(parents=True)
    with pytest.raises(UserError, match=r"beside them birds: it must hold either splits or classes"):
        image_folder.load(tmp_path / "split", 8, "crop")


def test_a_class_may_be_called_test(tmp_path):
    for name in ("test", "train"):
        save(tmp_path / "trials" / name / "a.png", Image.new("RGB", (9, 9), RED))
    assert image_folder.load(tmp_path / "trials", 8, "crop").classes == ("test", "train")


def read(path, size=8, resize="stretch", convert=()):
    return image_folder.read(path, size, resize, convert)


def test_grey_palette_and_bilevel_become_colour(tmp_path):
    save(tmp_path / "grey.png", Image.new("L", (9, 9), 77))
    assert (read(tmp_path / "grey.png") == 77).all()
    save(tmp_path / "palette.gif", Image.new("RGB", (9, 9), BLUE).quantize(4))
    assert np.abs(read(tmp_path / "palette.gif").astype(int) - BLUE).max() <= 2
    save(tmp_path / "bits.png", Image.new("1", (9, 9), 1))
    assert (read(tmp_path / "bits.png") == 255).all()
    save(tmp_path / "print.jpg", Image.new("CMYK", (9, 9), (0, 0, 0, 0)))
    assert (read(tmp_path / "print.jpg", convert=("cmyk",)) >= 253).all()
    save(tmp_path / "lab.tif", Image.new("LAB", (9, 9), (255, 128, 128)))
    assert (read(tmp_path / "lab.tif") >= 250).all()


def test_transparency_is_laid_on_white(tmp_path):
    save(tmp_path / "clear.png", Image.new("RGBA", (9, 9), (*RED, 0)))
    assert (read(tmp_path / "clear.png") == 255).all()
    save(tmp_path / "half.png", Image.new("RGBA", (9, 9), (0, 0, 0, 128)))
    assert np.abs(read(tmp_path / "half.png").astype(int) - 127).max() <= 1
    save(tmp_path / "la.png", Image.new("LA", (9, 9), (10, 255)))
    assert (read(tmp_path / "la.png") == 10).all()


def test_16_bits_are_scaled_and_not_clipped(tmp_path):
    save(tmp_path / "xray.png", Image.fromarray(np.full((9, 9), 0x8000, np.uint16)))
    assert np.abs(read(tmp_path / "xray.png", convert=("16-bit",)).astype(int) - 128).max() <= 1
    save(tmp_path / "float.tiff", Image.fromarray(np.linspace(-1, 1, 81, dtype=np.float32).reshape(9, 9)))
    values = read(tmp_path / "float.tiff", 9, convert=("16-bit",))[..., 0]
    assert (values[0, 0], values[-1, -1]) == (0, 255)


def test_the_cameras_rotation_is_applied(tmp_path):
    image = Image.new("RGB", (16, 8), RED)
    image.paste(BLUE, (0, 0, 8, 8))  # left half blue
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: turn by 90 degrees clockwise
    save(tmp_path / "photo.png", image, exif=exif)
    turned = read(tmp_path / "photo.png", 8)
    assert np.abs(turned[0, 4].astype(int) - BLUE).max() < 20  # what was left is now on top
    assert np.abs(turned[7, 4].astype(int) - RED).max() < 20


def test_resize(tmp_path):
    image = Image.new("RGB", (24, 8), RED)
    image.paste(GREEN, (8, 0, 16, 8))  # the middle third
    save(tmp_path / "wide.png", image)
    assert np.abs(read(tmp_path / "wide.png", 8, "crop")[:, 2:6].astype(int) - GREEN).max() <= 12
    stretched = read(tmp_path / "wide.png", 24, "stretch")
    assert np.abs(stretched[:, 2].astype(int) - RED).max() <= 2
    padded = read(tmp_path / "wide.png", 24, "pad")
    mean = np.round((2 * np.array(RED) + np.array(GREEN)) / 3)
    assert padded[0, 0].tolist() == mean.tolist()
    assert np.abs(padded[12, 2].astype(int) - RED).max() <= 2


def test_of_an_animation_the_first_frame(tmp_path):
    frames = [Image.new("RGB", (9, 9), colour) for colour in (RED, BLUE)]
    save(tmp_path / "film.gif", frames[0], save_all=True, append_images=frames[1:])
    assert np.abs(read(tmp_path / "film.gif", convert=("animation",)).astype(int) - RED).max() <= 2


def test_what_cannot_be_read_is_named(folder):
    (folder / "cats" / "9.png").write_bytes(b"no image at all")
    with pytest.raises(UserError, match=r"cats/9.png cannot be read as an image"):
        image_folder.load(folder, 8, "crop")
    whole = (folder / "cats" / "0.png").read_bytes()
    (folder / "cats" / "9.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"cats/9.png cannot be read as an image"):
        image_folder.load(folder, 8, "crop")


def test_a_damaged_exif_header_is_named_like_any_damage(folder):
    Image.new("RGB", (9, 9)).save(folder / "cats" / "9.png", exif=b"Exif\0\0MM\0*")
    with pytest.raises(UserError, match=r"cats/9.png cannot be read as an image"):
        image_folder.load(folder, 8, "crop")


def test_hidden_folders_and_formats_that_can_only_be_written_are_skipped(folder):
    before = len(image_folder.load(folder, 8, "crop"))
    save(folder / "cats" / ".thumbnails" / "0.png", Image.new("RGB", (9, 9)))
    Image.new("RGB", (9, 9)).save(folder / "cats" / "scan.pdf")
    images = image_folder.load(folder, 8, "crop")
    assert len(images) == before
    assert {"cats/.thumbnails/0.png", "cats/scan.pdf"} <= set(images.skipped)


@pytest.mark.parametrize("name", ["a.png", "a.eps", "a.ps", "a"])
def test_no_format_is_opened_that_starts_another_program(name, folder, monkeypatch):
    """Pillow lets Ghostscript draw EPS files, whatever they are called."""
    started = []
    monkeypatch.setattr(subprocess, "Popen", lambda command, **_: started.append(command))
    monkeypatch.setattr(subprocess, "check_call", lambda command, **_: started.append(command))
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", "gs")
    Image.new("RGB", (9, 9)).save(folder / "cats" / name, "EPS")
    with pytest.raises(UserError, match=r"cannot be read as an image \(its content is in none of the formats AVIF"):
        read(folder / "cats" / name)  # as IMAGE
    if name == "a.png":
        assert "cats/a.png cannot be read as an image (its content is in none of the formats" in refusal(folder)
    else:
        assert image_folder.load(folder, 8, "crop").skipped == (f"cats/{name}",)
    assert started == []


def test_the_page_names_the_formats_that_are_taken():
    page = " ".join((ROOT / "docs/own-images.md").read_text().split())
    (listed,) = re.findall(r"Formats are ([^;]*);", page)
    named = listed.replace(" and ", ", ").replace("JPEG 2000", "JPEG2000").upper().split(", ")
    assert tuple(named) == image_folder.FORMATS
    assert image_folder._formats() == list(image_folder.FORMATS)  # the locked Pillow has all


@pytest.mark.parametrize("name", ["photo", "photo.", ".photo"])
def test_a_picture_without_an_ending_is_said_to_have_none(name, tmp_path):
    Image.new("RGB", (9, 9)).save(tmp_path / name, "PNG")
    with pytest.raises(UserError, match=r"is a PNG image by its content, but its name has no ending: give it the"):
        read(tmp_path / name)


def test_float_images_fill_the_range(tmp_path):
    save(tmp_path / "f.tif", Image.fromarray(np.linspace(0, 0.1, 64, dtype=np.float32).reshape(8, 8)))
    pixels = read(tmp_path / "f.tif", convert=("16-bit",))
    assert (pixels.min(), pixels.max()) == (0, 255)


def test_float_images_of_what_is_no_number_are_refused(tmp_path):
    save(tmp_path / "f.tif", Image.fromarray(np.full((9, 9), np.nan, np.float32)))
    with pytest.raises(UserError, match=r"f.tif cannot be read as an image \(it has values that are no numbers\)"):
        read(tmp_path / "f.tif", convert=("16-bit",))


def refusal(folder, **options) -> str:
    """The sentence with which a folder is refused, without what every file's sentence ends in."""
    with pytest.raises(UserError) as refused:
        image_folder.load(folder, 8, "crop", **options)
    assert str(refused.value).isprintable()
    return str(refused.value).removesuffix(", or set data.bad_images to skip").replace(f"{folder}/", "")


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, bits: int = 8, *more: bytes) -> bytes:
    """A colour PNG of any size that its header may claim, with little in it."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 2, 0, 0, 0))
    rows = zlib.compress(bytes(min(width * height * bits // 8 * 3 + height, 10_000)))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(more) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_a_decompression_bomb_is_refused_before_it_is_decoded(folder):
    file = folder / "cats" / "9.png"
    for side in (10_000, 60_000):  # Pillow warns of the first, and refuses the second
        file.write_bytes(png(side, side))
        assert refusal(folder) == (
            f"cats/9.png is too large (Image size ({side**2} pixels) exceeds limit of "
            f"{Image.MAX_IMAGE_PIXELS * (1 if side == 10_000 else 2)} pixels, could be decompression bomb DOS attack): "
            "make it smaller or remove it"
        )
    file.write_bytes(png(9, 9, 8, chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(100_000_000)))))
    assert "cats/9.png cannot be read as an image (Decompressed data too large" in refusal(folder)


FRAMES = [Image.new("RGB", (9, 9), colour) for colour in (RED, BLUE)]
DEEP = "has more than 8 bits a channel: add 16-bit to data.convert to have them scaled to 8"
MOVING = "has more than one frame or page: add animation to data.convert to have the first one taken"


@pytest.mark.parametrize(
    ("name", "write", "sentence"),
    [
        ("a.png", lambda path: path.touch(), "is empty: replace or remove it"),
        ("a.png", lambda path: path.write_bytes(b"no image"),
         f"cannot be read as an image (its content is in none of the formats {', '.join(image_folder._formats())}): "
         "repair or remove it"),
        ("a.png", lambda path: path.write_bytes(png(90, 90)[:60]),
         "cannot be read as an image (image file is truncated): repair or remove it"),
        ("a.jpg", lambda path: path.write_bytes(png(9, 9)),
         "is a PNG image by its content, but is called .jpg: give it the right ending"),
        ("a.PNG", lambda path: FRAMES[0].save(path, "JPEG"),
         "is a JPEG image by its content, but is called .png: give it the right ending"),
        ("a.png", lambda path: path.symlink_to("nowhere.png"),
         "is a symbolic link to nowhere.png, which leads nowhere: repair or remove it"),
        ("a.png", lambda path: path.symlink_to("/no/such"),
         "is a symbolic link to /no/such, which leads nowhere: repair or remove it"),
        ("a.png", lambda path: path.symlink_to("a.png"),
         "is a symbolic link to a.png, which leads nowhere: repair or remove it"),
        ("a.png", os.mkfifo, "is no regular file: remove it"),
        ("a.jpg", Image.new("CMYK", (9, 9)).save,
         "is a CMYK image: add cmyk to data.convert to have it turned into RGB"),
        ("a.png", Image.fromarray(np.zeros((9, 9), np.uint16)).save, DEEP),
        ("a.tif", Image.fromarray(np.zeros((9, 9), np.int32)).save, DEEP),
        ("a.tif", Image.fromarray(np.zeros((9, 9), np.float32)).save, DEEP),
        ("a.png", lambda path: path.write_bytes(png(9, 9, 16)), DEEP),
        *((f"a.{ending}", lambda path: FRAMES[0].save(path, save_all=True, append_images=FRAMES[1:]), MOVING)
          for ending in ("gif", "png", "apng", "webp", "tif", "avif")),
    ],
)  # fmt: skip
def test_what_is_no_image_to_take_is_refused_or_skipped_with_its_reason(name, write, sentence, folder, capfd):
    write(folder / "dogs" / name)
    assert refusal(folder) == f"dogs/{name} {sentence}"
    images = image_folder.load(folder, 8, "crop", bad_images="skip")
    assert images.unreadable == ((f"dogs/{name}", sentence.rpartition(": ")[0]),)
    assert images.names == tuple(f"{kind}/{number}.png" for kind in ("cats", "dogs") for number in range(3))
    assert images.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.jpg", lambda path: FRAMES[0].save(path, "MPO", save_all=True, append_images=FRAMES[1:])),
        *((f"a.{ending}", FRAMES[0].save) for ending in ("jpeg", "jpe", "jfif", "JPG", "tif", "tiff", "apng", "dib",
                                                         "bmp", "webp", "avif", "jp2", "ppm", "tga", "ico", "gif")),
        ("a.dib", lambda path: FRAMES[0].save(path, "BMP")),
        ("a.pgm", Image.new("L", (9, 9)).save),
        ("a.gif", lambda path: FRAMES[0].save(path, save_all=True)),
    ],
)  # fmt: skip
def test_endings_and_contents_that_belong_together_are_taken(name, write, folder):
    write(folder / "dogs" / name)
    images = image_folder.load(folder, 8, "crop")
    if name == "a.jpg":  # the first of the phone's two pictures
        assert np.abs(images.pixels[-1].astype(int) - RED).max() < 20
    assert len(images) == 7


def test_sixteen_bits_a_colour_are_scaled_like_sixteen_bits_of_grey(tmp_path):
    rows = b"".join(b"\0" + struct.pack(">27H", *range(0, 54_000, 2000)) for _ in range(9))
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 9, 9, 16, 2, 0, 0, 0))
    content = b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    (tmp_path / "deep.png").write_bytes(content)
    pixels = read(tmp_path / "deep.png", 9, convert=("16-bit",))
    assert np.abs(pixels[4].ravel() - np.arange(0, 54_000, 2000) * 255 / 65535).max() <= 1


def test_of_many_broken_images_the_first_by_name_is_refused_and_all_are_listed(folder):
    broken = [f"dogs/x{number:02d}.png" for number in range(30)]
    for name in reversed(broken):
        (folder / name).write_bytes(png(90, 90)[:60])
    (folder / "cats" / "zz.png").touch()
    for _ in range(3):
        assert refusal(folder) == "cats/zz.png is empty: replace or remove it"
    images = image_folder.load(folder, 8, "crop", bad_images="skip")
    assert [name for name, _ in images.unreadable] == ["cats/zz.png", *broken]
    assert images.take(np.array([0])).unreadable == images.unreadable


def test_a_class_of_which_nothing_is_left_is_refused(folder):
    save(folder / "birds" / "a.jpg", Image.new("CMYK", (9, 9)))
    assert refusal(folder, bad_images="skip") == (
        "class 'birds' has no image that can be read (the first, birds/a.jpg, is a CMYK image): repair its files, or "
        "remove its folder"
    )


def test_an_empty_class_folder_is_refused(folder):
    (folder / "birds").mkdir()
    (folder / ".thumbnails").mkdir()
    assert refusal(folder) == "the class folder birds holds no image: put images into it, or remove it"
    (folder / "birds" / "notes.txt").touch()
    (folder / "birds" / ".a.png").touch()
    assert refusal(folder, bad_images="skip").startswith("the class folder birds holds no image")


def test_links_must_not_lead_out_of_the_folder(folder, tmp_path):
    outside = tmp_path / "outside"
    save(outside / "a.png", Image.new("RGB", (9, 9)))
    before = len(image_folder.load(folder, 8, "crop"))
    for name, target in (
        ("cats/a.png", outside / "a.png"), ("cats/a.png", "../../outside/a.png"), ("cats/more", outside),
        ("birds", outside), ("cats/notes.txt", outside / "a.png"), ("cats/a.png", "chain.png"),
    ):  # fmt: skip
        link = folder / name
        link.symlink_to(target)
        if target == "chain.png":
            (folder / "cats" / "chain.png").symlink_to(outside / "a.png")
        resolved = outside if link.is_dir() else outside / "a.png"
        for bad_images in ("refuse", "skip"):
            assert refusal(folder, bad_images=bad_images) == (
                f"{name} is a symbolic link to {resolved}, which is outside of the images' folder {folder}: put a copy "
                "in its place, or remove it"
            )
        link.unlink()
    (folder / "cats" / "chain.png").unlink()
    assert len(image_folder.load(folder, 8, "crop")) == before


def test_links_within_the_folder_and_to_it_are_followed(folder, tmp_path):
    (tmp_path / "link").symlink_to(folder)
    (folder / "cats" / "9.png").symlink_to("../dogs/0.png")
    (folder / "birds").symlink_to("dogs")
    (folder / "cats" / "round").symlink_to("..")  # in circles: not entered
    images = image_folder.load(tmp_path / "link", 8, "crop")
    assert images.classes == ("birds", "cats", "dogs")
    assert images.names.count("cats/9.png") == 1
    assert images.skipped == ("cats/round",)


STRANGE = ["плот.png", "猫 と 犬.png", "قطة.png", "a\nb.png", "a\r\nb.png", " .png", 'a,"b".png', "🐈.png", "-rf *.png"]


def test_files_may_have_any_name(folder):
    for number, name in enumerate(STRANGE):
        save(folder / "котки и кучета" / name, Image.new("RGB", (9, 9), (number, 0, 0)), format="PNG")
    os.rename(folder / "котки и кучета" / " .png", os.fsencode(folder / "котки и кучета") + b"/\xff.png")  # noqa: PTH104
    images = image_folder.load(folder, 8, "crop")
    given = {name.replace("\r", "\\x0d") for name in STRANGE if name != " .png"} | {"\\xff.png"}
    assert {name.partition("/")[2] for name in images.names if name.startswith("кот")} == given
    assert all(name.encode() for name in images.names)
    (folder / "cats" / "a\x1b[31m\n\u2028.png").touch()
    assert refusal(folder) == r"cats/a\x1b[31m\n\u2028.png is empty: replace or remove it"


@pytest.mark.parametrize("name", [b"a\nb", b"a\tb", b"a\rb", b"a\x7f", b"\xff", "a\u2028".encode()])
def test_a_class_must_have_a_name_that_can_be_written(name, folder):
    save(folder / "x" / "a.png", Image.new("RGB", (9, 9)))
    os.rename(folder / "x", os.fsencode(folder) + b"/" + name)  # noqa: PTH104
    assert "has a control character in its name, or bytes that are not UTF-8: rename it" in refusal(folder)


def test_pillow_says_nothing_on_the_side(folder, capfd):
    """Neither by warnings, nor by logging, nor libtiff to stderr by itself."""
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8))
    save(folder / "cats" / "a.tif", noise, compression="tiff_lzw")
    content = bytearray((folder / "cats" / "a.tif").read_bytes())
    content[20:60] = b"\xff" * 40
    (folder / "cats" / "a.tif").write_bytes(content)
    palette = Image.new("P", (9, 9))
    palette.info["transparency"] = bytes(range(200))
    save(folder / "cats" / "b.png", palette)
    exif = Image.Exif()
    exif[0x0112] = 6
    damaged = exif.tobytes()[:12] + b"\xff" * 10
    save(folder / "cats" / "c.jpg", Image.new("RGB", (9, 9)), exif=damaged)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        images = image_folder.load(folder, 8, "crop", bad_images="skip")
    assert [name for name, _ in images.unreadable] == ["cats/a.tif"]
    assert [str(warning.message) for warning in said] == []
    assert capfd.readouterr().err == ""


AS_NOBODY = """
import os, sys
from PIL import Image
from glassbox.data.sources import image_folder
from glassbox.core.errors import UserError
Image.init()
if os.getuid() == 0:  # who may read everything
    # What is imported on the way, and Pillow's own files: the environment may lie where only root may go.
    image_folder.load(sys.argv[1], 8, "crop", bad_images=sys.argv[2])
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
try:
    print(image_folder.load(sys.argv[1], 8, "crop", bad_images=sys.argv[2]).unreadable)
except UserError as error:
    print(error)
"""


@pytest.fixture
def open_folder(folder):
    """A folder of images that somebody else could read: above pytest's own nobody else may go."""
    place = Path(mkdtemp())
    place.chmod(0o755)
    yield folder.rename(place / "pets")
    for path in [place / "pets", *(place / "pets").rglob("*")]:
        path.chmod(0o755)
    for path in sorted(place.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    place.rmdir()


def as_nobody(folder: Path, bad_images: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", AS_NOBODY, folder, bad_images], capture_output=True, text=True, check=True,
        env=os.environ | {"PYTHONPATH": str(Path(image_folder.__file__).parents[3])},
    ).stdout.strip().replace(f"{folder}/", "")  # fmt: skip


def test_what_may_not_be_read_is_named(open_folder):
    (open_folder / "cats" / "1.png").chmod(0)
    assert as_nobody(open_folder, "refuse") == (
        "cats/1.png cannot be read as an image (Permission denied): repair or remove it, or set data.bad_images to skip"
    )
    assert as_nobody(open_folder, "skip") == "(('cats/1.png', 'cannot be read as an image (Permission denied)'),)"
    for mode in (0, stat.S_IRUSR | stat.S_IROTH):  # may not be listed; may be listed, but nothing in it be touched
        (open_folder / "dogs").chmod(mode)
        for bad_images in ("refuse", "skip"):
            assert as_nobody(open_folder, bad_images) == (
                "the folder dogs cannot be read (Permission denied): you must be allowed to list and to enter it"
            )


def test_too_little_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"data.path is null"):
        image_folder.load(None, 8, "crop")
    with pytest.raises(UserError, match=r"is no folder"):
        image_folder.load(tmp_path / "none", 8, "crop")
    save(tmp_path / "one" / "only" / "a.png", Image.new("RGB", (9, 9)))
    with pytest.raises(UserError, match=r"images of 1 classes"):
        image_folder.load(tmp_path / "one", 8, "crop")


def test_images_that_were_read_are_not_read_again_after_a_kill(tmp_path, monkeypatch):
    root, kept = tmp_path / "pets", tmp_path / "kept"
    for name, colour in (("cats", RED), ("dogs", GREEN)):
        for number in range(5):
            save(root / name / f"{number}.png", Image.new("RGB", (20 + number, 10), colour))
    (root / "cats" / "9.png").write_bytes(b"")
    (root / "dogs" / "link.png").symlink_to(root / "dogs" / "0.png")
    asked = (root, 8, "crop", iter, "skip")
    whole = image_folder.load(*asked)
    monkeypatch.setattr(image_folder, "TOGETHER", 4)
    real, opened = image_folder.read, []

    def read(path, *rest):
        if len(opened) == 6:
            raise KeyboardInterrupt
        opened.append(path.name)
        return real(path, *rest)

    monkeypatch.setattr(image_folder, "read", read)
    with pytest.raises(KeyboardInterrupt):
        image_folder.load(*asked, kept=kept)
    monkeypatch.setattr(image_folder, "read", lambda path, *rest: opened.append(path.name) or real(path, *rest))
    opened.clear()
    resumed = image_folder.load(*asked, kept=kept)
    assert len(opened) == 12 - 4  # two of the second four were lost
    assert np.array_equal(resumed.pixels, whole.pixels)
    assert (resumed.names, resumed.unreadable) == (whole.names, whole.unreadable)
    opened.clear()
    image_folder.load(*asked, kept=kept)  # DVC was killed before it took note
    assert opened == []
    save(root / "dogs" / "0.png", Image.new("RGB", (20, 10), GREEN))  # the same content, but who knows that unread
    image_folder.load(*asked, kept=kept)
    assert len(opened) == 12
