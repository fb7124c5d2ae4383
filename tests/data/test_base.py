import re

import numpy as np
import pytest

from glassbox.data.base import Images


def test_take_keeps_rows_together():
    images = Images(
        np.arange(4 * 2 * 2 * 3, dtype=np.uint8).reshape(4, 2, 2, 3), np.array([0, 1, 0, 1]), ("a", "b"),
        splits=np.array(["train", "test", "train", "test"]), masks=np.zeros((4, 2, 2), np.uint8),
        changed={"moved": np.full((4, 2, 2, 3), np.arange(4).reshape(4, 1, 1, 1), np.uint8)},
        arms={"noise": np.full((4, 2, 2, 3), np.arange(4, 8).reshape(4, 1, 1, 1), np.uint8)},
        names=("w", "x", "y", "z"), skipped=("t",), unreadable=(("u", "is empty"),),
    )  # fmt: skip
    part = images.take(np.array([3, 0]))
    assert (part.labels.tolist(), part.splits.tolist(), part.names) == ([1, 0], ["test", "train"], ("z", "w"))
    assert (part.skipped, part.unreadable) == (("t",), (("u", "is empty"),))
    assert np.array_equal(part.pixels[0], images.pixels[3])
    assert len(part.masks) == len(part) == 2
    assert part.changed["moved"][:, 0, 0, 0].tolist() == [3, 0]
    assert part.arms["noise"][:, 0, 0, 0].tolist() == [7, 4]


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
)  # fmt: skip
def test_what_a_source_yields_is_checked(parts, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        Images(**({"pixels": PIXELS, "labels": LABELS, "classes": ("a", "b")} | parts))
