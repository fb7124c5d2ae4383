import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from image_files import GREEN, RED, load, pets, save
from PIL import Image

from glassbox.core.errors import UserError
from glassbox.data import decode, masks

UPRIGHT = (6, 4)  # width and height of the images


def marked(size: tuple[int, int], *places: tuple[int, int], value: int = 255) -> Image.Image:
    """A grey mask of width and height `size`, in which the pixels at (row, column) have a value."""
    pixels = np.zeros(size[::-1], np.uint8)
    for row, column in places:
        pixels[row, column] = value
    return Image.fromarray(pixels)


@pytest.fixture
def folder(tmp_path):
    """Images of 8 x 8 pixels, of two classes."""
    for name, colour in (("cats", RED), ("dogs", GREEN)):
        for number in range(2):
            save(tmp_path / "pets" / name / f"{number}.jpg", Image.new("RGB", (8, 8), colour))
    return tmp_path / "pets"


def places(images, row: int = 0) -> list[list[int]]:
    return np.argwhere(images.masks[row]).tolist()


def refusal(folder: Path, **changes: object) -> str:
    with pytest.raises(UserError) as refused:
        load(folder, **changes)
    assert str(refused.value).isprintable()
    return str(refused.value).replace(f"{folder.parent}/", "")


# 8 columns on 4 rows, of which the pixel in row 1 and column 6 is marked, as 4 x 4 pixels.
@pytest.mark.parametrize(
    ("resize", "at"),
    [
        ("crop", []),  # columns 2 to 5 are left
        ("pad", [[1, 3]]),  # 4 x 2 pixels, below a row of padding
        ("stretch", [[1, 3]]),
    ],
)
def test_a_mask_is_cropped_padded_and_stretched_as_its_image(resize, at):
    mask = np.zeros((4, 8), bool)
    mask[1, 6] = True
    assert np.argwhere(decode.covered(mask, decode.Shape(4, resize))).tolist() == at
    picture = Image.fromarray(np.repeat(255 * mask[..., None].astype(np.uint8), 3, axis=2))
    square = np.asarray(decode.square(picture, decode.Shape(4, resize))).sum(axis=2).astype(int)
    if at:  # the image's brightest pixel is there
        assert np.unravel_index(square.argmax(), square.shape) == tuple(at[0])


def test_a_single_pixel_never_vanishes_unless_it_is_cut_off():
    rng = np.random.default_rng(0)
    for _ in range(300):
        h, w, size = (int(side) for side in rng.integers((8, 8, 8), (90, 90, 40)))
        mask = np.zeros((h, w), bool)
        mask[rng.integers(h), rng.integers(w)] = True
        for resize in ("pad", "stretch"):
            assert decode.covered(mask, decode.Shape(size, resize)).any(), (h, w, size)
    on_a_border = np.zeros((66, 88), bool)
    on_a_border[35, 49] = True  # its centre, 49.5, is the border of two of 28 pixels
    assert decode.covered(on_a_border, decode.Shape(28, "stretch")).any()


def test_a_mask_of_the_square_s_size_stays_as_it_is():
    mask = np.random.default_rng(0).random((8, 8)) < 0.3
    for resize in ("crop", "pad", "stretch"):
        assert np.array_equal(decode.covered(mask, decode.Shape(8, resize)), mask)


def test_a_folder_with_the_same_tree(folder, tmp_path):
    save(tmp_path / "marks/cats/0.png", marked((8, 8), (2, 3)))
    save(tmp_path / "marks/cats/1.bmp", marked((8, 8)))
    save(tmp_path / "marks/birds/0.png", marked((8, 8), (0, 0)))
    images = load(folder, masks=str(tmp_path / "marks"))
    assert images.masks.shape == (4, 8, 8)
    assert places(images) == [[2, 3]]
    assert images.mask_states.tolist() == ["marked", "empty", "no mask", "no mask"]
    assert not images.masks[1:].any()
    assert images.unused_masks == ("birds/0.png",)
    assert images.take(np.array([2, 0])).mask_states.tolist() == ["no mask", "marked"]
    assert load(folder).masks is load(folder).mask_states is None


def test_masks_beside_their_images(folder):
    save(folder / "cats/0_mask.png", marked((8, 8), (2, 3), (5, 7)))
    save(folder / "dogs/7_mask.png", marked((8, 8), (0, 0)))
    (folder / "cats/notes.txt").write_text("no image")
    images = load(folder, masks="_mask.png")
    assert images.names == ("cats/0.jpg", "cats/1.jpg", "dogs/0.jpg", "dogs/1.jpg")
    assert places(images) == [[2, 3], [5, 7]]
    assert images.mask_states.tolist() == ["marked", "no mask", "no mask", "no mask"]
    assert images.unused_masks == ("dogs/7_mask.png",)
    assert images.skipped == ("cats/notes.txt",)


def test_what_is_cut_off_has_vanished(tmp_path):
    wide = pets(tmp_path / "pets")  # 20 x 10 pixels and more
    save(tmp_path / "marks/cats/0.png", marked((20, 10), (0, 0)))
    save(tmp_path / "marks/cats/1.png", marked((21, 10), (5, 10)))
    states = load(wide, masks=str(tmp_path / "marks")).mask_states.tolist()
    assert states == ["vanished", "marked", *["no mask"] * 4]
    assert load(wide, masks=str(tmp_path / "marks"), resize="pad").mask_states[0] == "marked"


def test_masks_of_images_that_cannot_be_read_are_left_out(folder, tmp_path):
    (folder / "cats/0.jpg").write_bytes(b"no image")
    for number in (0, 1):
        save(tmp_path / f"marks/cats/{number}.png", marked((8, 8), (number, 0)))
    images = load(folder, masks=str(tmp_path / "marks"), bad_images="skip")
    assert images.names[0] == "cats/1.jpg"
    assert places(images) == [[1, 0]]


@pytest.mark.parametrize("mode", ["1", "L", "P", "I;16", "RGB", "RGBA"])
def test_any_pixel_that_is_not_zero_is_marked(folder, tmp_path, mode):
    mask = marked((8, 8), (2, 3), value=1)
    if mode == "P":
        mask = mask.convert("P")
        mask.putpalette([0, 0, 0] * 256)  # the numbers count, not their colours
    elif mode == "I;16":
        mask = Image.fromarray(np.asarray(mask).astype(np.uint16))
    elif mode == "1":
        mask = mask.point(lambda value: 255 * value).convert("1")
    else:
        mask = mask.convert(mode)
    save(tmp_path / "marks/cats/0.png", mask)
    assert places(load(folder, masks=str(tmp_path / "marks"))) == [[2, 3]]


def test_a_value_for_each_class(folder, tmp_path):
    for name in ("cats", "dogs"):
        mask = np.zeros((8, 8), np.uint8)
        mask[0, 0], mask[7, 7] = 1, 2
        save(tmp_path / f"marks/{name}/0.png", Image.fromarray(mask))
    images = load(folder, masks=str(tmp_path / "marks"), mask_values=("cats:1", "dogs:2"))
    assert places(images, 0) == [[0, 0]]
    assert places(images, 2) == [[7, 7]]
    images = load(folder, masks=str(tmp_path / "marks"), mask_values=("dogs:3",))
    assert images.mask_states.tolist() == ["no mask", "no mask", "empty", "no mask"]
    assert refusal(folder, masks=str(tmp_path / "marks"), mask_values=("birds:1",)) == (
        "data.mask_values has a value for 'birds', which is no class: the classes are cats, dogs"
    )
    save(tmp_path / "marks/cats/0.png", Image.new("RGB", (8, 8), RED))
    assert "marks/cats/0.png has colours" in refusal(folder, masks=str(tmp_path / "marks"), mask_values=("cats:1",))


@pytest.mark.parametrize("orientation", [*masks.TURNS])
@pytest.mark.parametrize("is_upright", [True, False])
def test_a_mask_is_turned_with_its_image_if_its_size_says_so(tmp_path, orientation, is_upright):
    """The image's bright pixel and the mask's mark are at the same place of the file, or of the upright image."""
    stored = np.zeros((4, 6), np.uint8)
    stored[1, 4] = 255
    image = Image.fromarray(np.repeat(stored[..., None], 3, axis=2))
    exif = Image.Exif()
    exif[masks.ORIENTATION] = orientation
    for name in ("cats", "dogs"):
        save(tmp_path / "pets" / name / "0.png", image, exif=exif)
    mask = Image.fromarray(stored)
    if is_upright or masks.TURNS[orientation] in masks.KEEP_SIDES:
        mask = mask.transpose(masks.TURNS[orientation])
    save(tmp_path / "marks/cats/0.png", mask)
    images = load(tmp_path / "pets", masks=str(tmp_path / "marks"), resize="stretch", image_size=24)
    brightest = images.pixels[0].sum(axis=2, dtype=int)
    assert images.masks[0][np.unravel_index(brightest.argmax(), brightest.shape)]
    assert images.masks[0].sum() == 24  # one of 24 pixels


def test_masks_that_cannot_be_used_are_refused(folder, tmp_path):
    marks = tmp_path / "marks"
    where = {"masks": str(marks)}
    assert refusal(folder, masks="nothing") == (
        "data.masks = 'nothing' is no folder: it must be a folder with the tree of data.path, the ending of masks "
        "beside the images, which begins with _, - or a dot, or a COCO file, which ends in .json"
    )
    assert refusal(folder, masks="_mask") == "data.masks = '_mask' must end like an image file, as _mask.png does"
    assert refusal(folder, masks="_mask.png").endswith("that of cats/0.jpg must be called cats/0_mask.png")
    assert "is inside data.path, where its folders are classes" in refusal(folder, masks=str(folder / "cats"))
    marks.mkdir()
    assert refusal(folder, **where).endswith("that of cats/0.jpg must be called cats/0.png there")
    save(marks / "cats/0.png", marked((8, 9), (2, 3)))
    assert refusal(folder, **where) == (
        "data.masks: the mask of pets/cats/0.jpg has 8 x 9 pixels, and the image has 8 x 8: they must be equal"
    )
    save(marks / "cats/0.bmp", marked((8, 8), (2, 3)))
    assert refusal(folder, **where) == (
        "data.masks: marks/cats/0.bmp and marks/cats/0.png are masks of one image: remove one"
    )
    (marks / "cats/0.bmp").unlink()
    save(folder / "cats/0.png", Image.new("RGB", (8, 8)))
    assert "marks/cats/0.png belongs to two images" in refusal(folder, **where)
    (folder / "cats/0.png").unlink()
    for image, options, sentence in (
        (Image.new("LA", (8, 8)), {}, "has the mode LA, but must be black and white, grey, a palette or RGB"),
        (Image.new("RGBA", (8, 8)), {}, "has transparent pixels, but must have a value everywhere"),
    ):
        save(marks / "cats/0.png", image, **options)
        assert refusal(folder, **where) == f"data.masks: marks/cats/0.png {sentence}: repair or remove it"
    (marks / "cats/0.png").write_bytes(b"no image")
    assert "data.masks: marks/cats/0.png cannot be read as an image" in refusal(folder, **where)
    (marks / "cats/0.png").unlink()
    save(marks / "cats/0.jpg", marked((8, 8)))
    assert refusal(folder, **where) == (
        "data.masks: marks/cats/0.jpg is a JPEG image, whose compression can change values, but must be PNG: repair or "
        "remove it"
    )


def test_where_masks_lie(folder, params, tmp_path):
    def data(value):
        return params.data.model_copy(update={"masks": value})

    assert masks.place(data(None)) is masks.place(data("_mask.png")) is None
    assert masks.place(data("../marks")) == Path("../marks")
    assert masks.place(data("marks.json")) == Path("marks.json")
    assert masks.is_mask(Path("a/x_mask.png"), data("_mask.png"))
    assert not masks.is_mask(Path("a/x.png"), data("_mask.png"))
    assert not masks.is_mask(Path("a/x_mask.png"), data("marks"))


def test_a_coco_file(folder, tmp_path):
    file = tmp_path / "marks.json"
    box = {"image_id": 1, "category_id": 3, "bbox": [2, 1, 3, 2]}
    image = {"id": 1, "file_name": "cats/0.jpg", "width": 8, "height": 8}
    file.write_text(json.dumps({"images": [image], "annotations": [box]}))
    images = load(folder, masks=str(file))
    assert places(images) == [[1, 2], [1, 3], [1, 4], [2, 2], [2, 3], [2, 4]]
    assert images.mask_states.tolist() == ["marked", "no mask", "no mask", "no mask"]
    assert load(folder, masks=str(file), mask_values=("cats:4",)).mask_states[0] == "empty"
    file.write_text(json.dumps({"images": [image | {"width": 9}], "annotations": [box]}))
    assert "the mask of pets/cats/0.jpg has 9 x 8 pixels, and the image has 8 x 8" in refusal(folder, masks=str(file))
    file.write_text(json.dumps({"images": [image | {"file_name": "x.jpg"}], "annotations": []}))
    assert refusal(folder, masks=str(file)).endswith(
        "file_name of its images must be a name like cats/0.jpg, or its last part"
    )


def test_a_mask_needs_a_state(folder, tmp_path):
    save(tmp_path / "marks/cats/0.png", marked((8, 8), (2, 3)))
    images = load(folder, masks=str(tmp_path / "marks"))
    with pytest.raises(ValueError, match="mask_states of images are"):
        replace(images, mask_states=images.mask_states[:1])
