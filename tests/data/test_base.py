import re

import numpy as np
import pytest

from glassbox.data.base import Images


def test_take_keeps_rows_together():
    numbers = np.tile(np.arange(4, dtype=np.uint8).reshape(4, 1, 1, 1), (1, 2, 2, 3))
    splits, names, left_out = np.array(["train", "test", "train", "test"]), ("w", "x", "y", "z"), (("u", "is empty"),)
    parts = {"masks": numbers[..., 0], "changed": {"moved": numbers + 10}, "arms": {"noise": numbers + 20}}
    parts |= {"splits": splits, "names": names, "skipped": ("t",), "unreadable": left_out}
    images = Images(numbers, np.array([0, 1, 0, 1]), ("a", "b"), **parts)
    part = images.take(np.array([3, 0]))
    assert (part.labels.tolist(), part.splits.tolist(), part.names) == ([1, 0], ["test", "train"], ("z", "w"))
    assert (part.classes, part.skipped, part.unreadable, len(part)) == (("a", "b"), ("t",), left_out, 2)
    for taken, offset in ((part.pixels, 0), (part.changed["moved"], 10), (part.arms["noise"], 20)):
        assert taken[:, 0, 0, 0].tolist() == [3 + offset, offset]
    assert part.masks[:, 0, 0].tolist() == [3, 0]


PIXELS, LABELS = np.zeros((2, 4, 4, 3), np.uint8), np.array([0, 1])


@pytest.mark.parametrize(
    ("parts", "sentence"),
    [
        ({"pixels": PIXELS / 255}, "pixels of images are (2, 4, 4, 3) float64, but must be (2, 4, 4, 3) uint8"),
        ({"pixels": PIXELS[..., 0]}, "pixels of images are (2, 4, 4) uint8, but must be (2, 4, 4, 3) uint8"),
        ({"pixels": PIXELS[:1]}, "pixels of images are (1, 4, 4, 3) uint8, but must be (2, 4, 4, 3) uint8"),
        ({"labels": np.array([0, 2])}, "labels of images are 0 to 2, but there are 2 classes, counted from 0"),
        ({"splits": np.array(["train"])}, "splits of images are (1,) <U5, but must be (2,)"),
        ({"masks": np.zeros((2, 4, 3), np.uint8)}, "masks of images are (2, 4, 3) uint8, but must be (2, 4, 4)"),
        ({"arms": {"noise": PIXELS[:1]}}, "noise of images are (1, 4, 4, 3) uint8, but must be (2, 4, 4, 3) uint8"),
        ({"names": ("a",)}, "there are 1 names of images, but 2 images"),
    ],
)
def test_wrong_shapes_and_types_are_refused(parts, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        Images(**({"pixels": PIXELS, "labels": LABELS, "classes": ("a", "b")} | parts))
