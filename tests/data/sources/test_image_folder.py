import os
import warnings
from pathlib import Path

import numpy as np
import pytest
from image_files import BLUE, GREEN, RED, load, pets, save
from PIL import Image

from glassbox.core.errors import UserError
from glassbox.data import decode
from glassbox.data.sources import image_folder

IMAGE = Image.new("RGB", (9, 9), BLUE)


@pytest.fixture
def folder(tmp_path):
    return pets(tmp_path / "pets")


def refusal(folder: Path, **changes: object) -> str:
    """The message with which a folder is refused, without the part that all messages about files have."""
    with pytest.raises(UserError) as refused:
        load(folder, **changes)
    assert str(refused.value).isprintable()
    return str(refused.value).removesuffix(", or set data.bad_images to skip").replace(f"{folder}/", "")


def test_a_folder_without_splits(folder):
    (folder / "cats" / "notes.txt").write_text("no image")
    (folder / "cats" / ".hidden.png").write_text("no image")
    (folder / "cats" / "drawing.eps").write_text("no image")
    save(folder / "cats" / ".thumbnails" / "0.png", IMAGE)
    IMAGE.save(folder / "cats" / "scan.pdf")  # which Pillow can only write
    images = load(folder)
    assert images.classes == ("cats", "dogs")
    assert images.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert images.splits is None
    assert images.names == tuple(f"{kind}/{number}.png" for kind in ("cats", "dogs") for number in range(3))
    skipped = [".hidden.png", ".thumbnails/0.png", "drawing.eps", "notes.txt", "scan.pdf"]
    assert sorted(images.skipped) == [f"cats/{name}" for name in skipped]
    assert images.unreadable == ()
    assert images.pixels.shape == (6, 8, 8, 3)
    assert images.pixels[[0, 3], 0, 0].tolist() == [list(RED), list(GREEN)]


def test_a_folder_with_splits(tmp_path):
    for split in ("train", "val", "test"):
        pets(tmp_path / split, per_class=1)
    images = load(tmp_path)
    assert sorted(images.splits.tolist()) == ["test"] * 2 + ["train"] * 2 + ["validation"] * 2
    assert images.classes == ("cats", "dogs")
    (tmp_path / "birds" / "x").mkdir(parents=True)
    with pytest.raises(UserError, match=r"beside them birds: it must hold either splits or classes"):
        load(tmp_path)
    for name in ("test", "train"):  # folders without sub-folders are classes
        save(tmp_path / "trials" / name / "a.png", IMAGE)
    assert load(tmp_path / "trials").classes == ("test", "train")


@pytest.mark.parametrize("ending", [".bmp", "_mask.png"])
def test_masks_among_the_images_are_refused_if_nothing_names_them(ending, folder):
    images = sorted(folder.rglob("*.png"))
    for image in images[2:]:
        IMAGE.save(image.with_name(image.stem + ending))
    assert len(load(folder).names) == 10  # pairs are chance where other images stand alone
    for image in images[:2]:
        IMAGE.save(image.with_name(image.stem + ending))
    pair = f"cats/0{ending} and 0.png" if ending == ".bmp" else f"cats/0.png and 0{ending}"
    assert refusal(folder) == (
        f"data.masks is null, but nearly every image has a second file beside it, like {pair}: if these are masks, it "
        f"must be their ending, like {'.png' if ending == '.bmp' else ending}; if they are copies, remove them"
    )


def test_the_first_unreadable_image_by_name_is_refused_or_all_are_listed(folder):
    broken = [f"dogs/x{number:02d}.png" for number in range(30)]
    for name in reversed(broken):
        (folder / name).write_bytes(b"no image")
    (folder / "cats" / "zz.png").touch()
    for _ in range(3):
        assert refusal(folder) == "cats/zz.png is empty: replace or remove it"
    images = load(folder, bad_images="skip")
    assert [name for name, _ in images.unreadable] == ["cats/zz.png", *broken]
    assert images.unreadable[0] == ("cats/zz.png", "is empty")
    assert images.names == load(pets(folder.parent / "whole")).names
    assert images.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert images.take(np.array([0])).unreadable == images.unreadable


def test_a_class_without_a_readable_image_is_refused(folder):
    save(folder / "birds" / "a.jpg", Image.new("CMYK", (9, 9)))
    assert len(load(folder, convert=("cmyk",))) == 7
    assert refusal(folder, bad_images="skip") == (
        "class 'birds' has no image that can be read (the first, birds/a.jpg, is a CMYK image): repair its files, or "
        "remove its folder"
    )


def test_too_little_is_refused(folder, tmp_path):
    with pytest.raises(UserError, match=r"is no folder: it must hold a sub-folder of images for each class"):
        load(tmp_path / "none")
    save(tmp_path / "only" / "class" / "a.png", IMAGE)
    with pytest.raises(UserError, match=r"images of 1 classes"):
        load(tmp_path / "only")
    (folder / "birds").mkdir()
    (folder / ".thumbnails").mkdir()
    assert refusal(folder) == "the class folder birds holds no image: put images into it, or remove it"
    (folder / "birds" / "notes.txt").touch()
    (folder / "birds" / ".a.png").touch()
    assert refusal(folder, bad_images="skip").startswith("the class folder birds holds no image")


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("cats/a.png", "{outside}/a.png"),
        ("cats/a.png", "../../outside/a.png"),
        ("cats/a.png", "z.png"),  # itself a link out
        ("cats/more", "{outside}"),
        ("birds", "{outside}"),
        ("cats/notes.txt", "{outside}/a.png"),
    ],
)
def test_links_must_not_lead_out_of_the_folder(name, target, folder, tmp_path):
    outside = tmp_path / "outside"
    save(outside / "a.png", IMAGE)
    link = folder / name
    link.symlink_to(target.format(outside=outside))
    if target == "z.png":
        (folder / "cats" / "z.png").symlink_to(outside / "a.png")
    for bad_images in ("refuse", "skip"):
        assert refusal(folder, bad_images=bad_images) == (
            f"{name} is a symbolic link to {link.resolve()}, which is outside of the images' folder {folder}: put a "
            "copy in its place, or remove it"
        )


def test_links_within_the_folder_and_to_it_are_followed(folder, tmp_path):
    (tmp_path / "link").symlink_to(folder)
    (folder / "cats" / "9.png").symlink_to("../dogs/0.png")
    (folder / "birds").symlink_to("dogs")
    (folder / "cats" / "round").symlink_to("..")  # a loop: not entered
    images = load(tmp_path / "link")
    assert images.classes == ("birds", "cats", "dogs")
    assert images.names.count("cats/9.png") == 1
    assert images.skipped == ("cats/round",)


@pytest.mark.parametrize("name", [b"a\nb", b"a\tb", b"a\rb", b"a\x7f", b"\xff", "a\u2028".encode()])
def test_a_class_must_have_a_printable_name_and_a_message_shows_any_name_on_one_line(name, folder):
    (folder / "cats" / "a\x1b[31m\n\u2028.png").touch()
    assert refusal(folder) == r"cats/a\x1b[31m\n\u2028.png is empty: replace or remove it"
    save(folder / os.fsdecode(name) / "a.png", IMAGE)
    assert "has a control character in its name, or bytes that are not UTF-8: rename it" in refusal(folder)


def test_pillow_and_libtiff_print_nothing(folder, capfd):
    """Neither by warnings, nor by logging, nor directly to stderr."""
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
    save(folder / "cats" / "c.jpg", IMAGE, exif=exif.tobytes()[:12] + b"\xff" * 10)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        images = load(folder, bad_images="skip")
    assert [name for name, _ in images.unreadable] == ["cats/a.tif"]
    assert [str(warning.message) for warning in warned] == []
    assert capfd.readouterr().err == ""


NOBODY = 65534


@pytest.fixture
def own_folder(folder, monkeypatch):
    """The folder, in a process without the rights of root, who may read everything."""
    load(folder)  # imports what is needed, which nobody may be allowed to read
    monkeypatch.chdir(folder.parent)  # into pytest's own folder nobody may look
    if os.geteuid() == 0:
        for path in (folder.parent, *folder.parent.rglob("*")):
            os.chown(path, NOBODY, -1)
        os.seteuid(NOBODY)
    yield Path("pets")
    Path("pets/dogs").chmod(0o755)
    os.seteuid(os.getuid())


def test_what_may_not_be_read_is_named(own_folder):
    (own_folder / "cats" / "1.png").chmod(0)
    assert refusal(own_folder) == "cats/1.png cannot be read as an image (Permission denied): repair or remove it"
    unreadable = load(own_folder, bad_images="skip").unreadable
    assert unreadable == (("cats/1.png", "cannot be read as an image (Permission denied)"),)
    for mode in (0o000, 0o444):  # may not be listed; may be listed, but not entered
        (own_folder / "dogs").chmod(mode)
        for bad_images in ("refuse", "skip"):
            assert refusal(own_folder, bad_images=bad_images) == (
                "the folder dogs cannot be read (Permission denied): you must be allowed to list and to enter it"
            )


def test_images_that_were_read_are_not_read_again_after_a_kill(tmp_path, monkeypatch):
    root, kept, settings = pets(tmp_path / "pets", per_class=5), tmp_path / "kept", {"bad_images": "skip"}
    (root / "cats" / "9.png").write_bytes(b"")
    (root / "dogs" / "link.png").symlink_to(root / "dogs" / "0.png")
    uninterrupted = load(root, **settings)
    monkeypatch.setattr(image_folder, "TOGETHER", 4)
    read_file, opened, most = decode.read, [], 6

    def read(path: Path, *settings: object) -> np.ndarray:
        if len(opened) == most:
            raise KeyboardInterrupt
        opened.append(path.name)
        return read_file(path, *settings)

    monkeypatch.setattr(decode, "read", read)
    with pytest.raises(KeyboardInterrupt):
        load(root, kept, **settings)
    opened, most = [], None
    resumed = load(root, kept, **settings)
    assert len(opened) == 12 - 4  # two of the second four were lost
    assert np.array_equal(resumed.pixels, uninterrupted.pixels)
    assert (resumed.names, resumed.unreadable) == (uninterrupted.names, uninterrupted.unreadable)
    opened = []
    load(root, kept, **settings)  # DVC was killed before it recorded the result
    assert opened == []
    save(root / "dogs" / "0.png", Image.new("RGB", (20, 10), GREEN))  # a file that was written again is read again
    load(root, kept, **settings)
    assert len(opened) == 12
