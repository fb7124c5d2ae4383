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


@pytest.mark.parametrize(
    "pixels", [np.zeros((1, 2, 2, 3)), np.zeros((1, 2, 2), np.uint8), np.zeros((1, 2, 2, 1), np.uint8)]
)
def test_only_uint8_colour_images(pixels):
    with pytest.raises(AssertionError):
        Images(pixels, np.zeros(1, np.int64), ("a",))
