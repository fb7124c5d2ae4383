import json

import numpy as np
import pytest

from glassbox.core.errors import UserError
from glassbox.data import coco

IMAGE = {"id": 7, "file_name": "a/x.jpg", "width": 5, "height": 4}
BOX = np.zeros((4, 5), bool)
BOX[1:3, 1:4] = True
# Run lengths go down the columns, and begin with what is not marked: 5 pixels, then rows 1 and 2 of columns 1 to 3.
COUNTS = [5, 2, 2, 2, 2, 2, 5]


@pytest.fixture
def files(tmp_path):
    """Writes a COCO file with these images and annotations, and returns what `masks` takes."""

    def write(*annotations: dict, images: tuple[dict, ...] = (IMAGE,), names: tuple[str, ...] = ("a/x.jpg", "b/y.jpg")):
        numbered = [{"id": number, "image_id": 7, "category_id": 1} | one for number, one in enumerate(annotations)]
        (tmp_path / "coco.json").write_text(json.dumps({"images": images, "annotations": numbered}))
        return tmp_path / "coco.json", [tmp_path / name for name in names], tmp_path

    return write


@pytest.mark.parametrize(
    "shape",
    [
        {"bbox": [1, 1, 3, 2]},
        {"segmentation": [[1, 1, 4, 1, 4, 3, 1, 3]], "bbox": [0, 0, 5, 4]},
        {"segmentation": [[1, 1, 2, 1, 2, 3, 1, 3], [2, 1, 4, 1, 4, 3, 2, 3]]},
        {"segmentation": {"size": [4, 5], "counts": COUNTS}},
    ],
)
def test_polygons_run_lengths_and_boxes(files, shape):
    found, unused = coco.masks(*files(shape))
    (path, mask), *others = found.items()
    assert path.name == "x.jpg"
    assert np.array_equal(mask(None), BOX)
    assert (others, unused) == ([], ())


def test_compressed_run_lengths(files):
    from pycocotools import mask

    runs = mask.encode(np.asfortranarray(BOX.astype(np.uint8)))
    found, _ = coco.masks(*files({"segmentation": {"size": [4, 5], "counts": runs["counts"].decode()}}))
    assert np.array_equal(next(iter(found.values()))(None), BOX)


def test_all_annotations_or_those_of_a_category(files):
    found, _ = coco.masks(*files({"bbox": [0, 0, 1, 1]}, {"bbox": [4, 3, 1, 1], "category_id": 2}))
    (mask,) = found.values()
    assert np.argwhere(mask(None)).tolist() == [[0, 0], [3, 4]]
    assert np.argwhere(mask(2)).tolist() == [[3, 4]]
    assert not mask(3).any()


def test_an_image_is_found_by_its_name_or_the_last_part_of_it(files):
    found, unused = coco.masks(*files(images=(IMAGE | {"file_name": "y.jpg"}, IMAGE | {"file_name": "z.jpg"})))
    assert [path.name for path in found] == ["y.jpg"]
    assert unused == ("z.jpg",)
    with pytest.raises(UserError, match=r"has the image y\.jpg, and there are 2 of that name: file_name must be"):
        coco.masks(*files(images=(IMAGE | {"file_name": "y.jpg"},), names=("a/y.jpg", "b/y.jpg")))
    with pytest.raises(UserError, match=r"coco\.json has the image a/x\.jpg twice"):
        coco.masks(*files(images=(IMAGE, IMAGE)))


@pytest.mark.parametrize(
    ("shape", "why"),
    [
        ({"segmentation": [[1, 1, 2, 2]]}, "a polygon of 4 numbers, which must be even and at least 6"),
        ({"segmentation": {"size": [5, 4], "counts": COUNTS}}, r"run lengths of the size \[5, 4\]"),
        ({}, "'bbox'"),
        ({"bbox": ["a", 1, 1, 1]}, "could not convert"),
    ],
)
def test_an_annotation_that_cannot_be_drawn_is_named(files, shape, why):
    found, _ = coco.masks(*files(shape))
    with pytest.raises(UserError, match=rf"annotation 0 of a/x\.jpg cannot be drawn \(.*{why}.*it must have a seg"):
        next(iter(found.values()))(None)


@pytest.mark.parametrize(
    "content", ["[]", "{}", '{"images": [{}], "annotations": []}', '{"images": 3, "annotations": 4}']
)
def test_another_file_is_refused(files, content):
    file, paths, root = files()
    file.write_text(content)
    with pytest.raises(UserError, match=r"is no COCO file \(.*\): it must have images with id, file_name, height"):
        coco.masks(file, paths, root)
    file.write_text("{")
    with pytest.raises(UserError, match=r"cannot be read as JSON"):
        coco.masks(file, paths, root)
    file.unlink()
    with pytest.raises(UserError, match=r"there is no file"):
        coco.masks(file, paths, root)
