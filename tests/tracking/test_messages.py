"""What goes from a stage to its recorder arrives as it was sent."""

from pathlib import Path

import numpy as np
import pytest

from glassbox.tracking.messages import Message, decode, encode


@pytest.mark.parametrize(
    ("sent", "arrives"),
    [
        ({"train.epochs": 3, "train.rho": None}, {"train.epochs": 3, "train.rho": None}),
        ([("a/LIME", 7, b"\x89PNG\r\n")], [["a/LIME", 7, b"\x89PNG\r\n"]]),
        (("cat", "dog"), ["cat", "dog"]),
        (Path("reports") / "a b", "reports/a b"),
        (np.arange(4, dtype=np.uint8).reshape(2, 2), [[0, 1], [2, 3]]),
        ({"loss": np.float32(0.5), "images": np.int64(3)}, {"loss": 0.5, "images": 3}),
        ("two\nlines, ä", "two\nlines, ä"),
    ],
)
def test_arguments_arrive(sent, arrives):
    line = encode(Message("log", 1700000000000, (sent,), {"by name": sent}))
    assert line.index("\n") == len(line) - 1, "one line"
    assert decode(line) == ("log", 1700000000000, [arrives], {"by name": arrives})
