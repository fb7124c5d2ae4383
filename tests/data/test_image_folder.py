import numpy as np
import pytest
from PIL import Image

from glassbox.data import image_folder
from glassbox.errors import UserError

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


def read(path, size=8, resize="stretch"):
    return image_folder.read(path, size, resize)


def test_grey_palette_and_bilevel_become_colour(tmp_path):
    save(tmp_path / "grey.png", Image.new("L", (9, 9), 77))
    assert (read(tmp_path / "grey.png") == 77).all()
    save(tmp_path / "palette.gif", Image.new("RGB", (9, 9), BLUE).quantize(4))
    assert np.abs(read(tmp_path / "palette.gif").astype(int) - BLUE).max() <= 2
    save(tmp_path / "bits.png", Image.new("1", (9, 9), 1))
    assert (read(tmp_path / "bits.png") == 255).all()
    save(tmp_path / "print.jpg", Image.new("CMYK", (9, 9), (0, 0, 0, 0)))
    assert (read(tmp_path / "print.jpg") >= 253).all()


def test_transparency_is_laid_on_white(tmp_path):
    save(tmp_path / "clear.png", Image.new("RGBA", (9, 9), (*RED, 0)))
    assert (read(tmp_path / "clear.png") == 255).all()
    save(tmp_path / "half.png", Image.new("RGBA", (9, 9), (0, 0, 0, 128)))
    assert np.abs(read(tmp_path / "half.png").astype(int) - 127).max() <= 1
    save(tmp_path / "la.png", Image.new("LA", (9, 9), (10, 255)))
    assert (read(tmp_path / "la.png") == 10).all()


def test_16_bits_are_scaled_and_not_clipped(tmp_path):
    save(tmp_path / "xray.png", Image.fromarray(np.full((9, 9), 0x8000, np.uint16)))
    assert np.abs(read(tmp_path / "xray.png").astype(int) - 128).max() <= 1
    save(tmp_path / "float.tiff", Image.fromarray(np.linspace(-1, 1, 81, dtype=np.float32).reshape(9, 9)))
    values = read(tmp_path / "float.tiff", 9)[..., 0]
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
    assert np.abs(read(tmp_path / "film.gif").astype(int) - RED).max() <= 2


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


def test_float_images_fill_the_range(tmp_path):
    save(tmp_path / "f.tif", Image.fromarray(np.linspace(0, 0.1, 64, dtype=np.float32).reshape(8, 8)))
    pixels = read(tmp_path / "f.tif")
    assert (pixels.min(), pixels.max()) == (0, 255)


def test_a_decompression_bomb_is_refused(folder, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    with pytest.raises(UserError, match=r"cannot be read as an image: .*decompression bomb"):
        image_folder.load(folder, 8, "crop")


def test_too_little_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"data.path is null"):
        image_folder.load(None, 8, "crop")
    with pytest.raises(UserError, match=r"is no folder"):
        image_folder.load(tmp_path / "none", 8, "crop")
    save(tmp_path / "one" / "only" / "a.png", Image.new("RGB", (9, 9)))
    with pytest.raises(UserError, match=r"images of 1 classes"):
        image_folder.load(tmp_path / "one", 8, "crop")
