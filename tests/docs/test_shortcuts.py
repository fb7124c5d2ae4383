"""The table of planted shortcuts."""

import numpy as np
import pandas as pd
import pytest

from docs import shortcuts
from glassbox.audit.candidates import Property, Region
from glassbox.core import files
from glassbox.core.errors import UserError
from glassbox.data.sources.planted import MARKS

RING = MARKS["ring"][1](32)


@pytest.mark.parametrize(
    ("kind", "candidate", "planted"),
    [
        ("ring", Region(0, "maps", RING), True),
        ("partial", Region(0, "maps", RING), True),
        ("ring", Region(1, "maps", RING), False),  # of another class
        ("ring", Region(0, "maps", np.flipud(RING)), False),  # in another corner
        ("none", Region(0, "maps", RING), False),
        ("border", Region(0, "maps", np.roll(RING, (-12, 12), axis=(0, 1))), False),
        ("border", Region(0, "maps", MARKS["border"][1](32)), True),
        ("cast", Property(0, "images", "share of red"), True),
        ("cast", Property(0, "images", "share of green"), False),
        ("cast", Region(0, "maps", RING), False),
        ("brightness", Property(0, "images", "brightness"), True),
        ("ring", Property(0, "images", "brightness"), False),
    ],
)
def test_what_was_planted_is_told_from_other_findings(kind, candidate, planted):
    assert shortcuts.is_planted(kind, candidate) is planted


def test_the_images_have_the_shortcut_and_their_versions(monkeypatch):
    monkeypatch.setattr(shortcuts, "IMAGES", 100)
    _, splits = shortcuts.made("partial", 0)
    assert [len(split) for split in splits.values()] == [64, 16, 20]
    train = splits["train"]
    carrying = (train.images != train.changed["unmarked"]).any(dim=3)
    assert set(train.labels[carrying.any(dim=2).any(dim=1)].tolist()) == {0}
    assert not carrying[:, ~RING].any()
    _, others = shortcuts.made("none", 0)
    drawn = (others["train"].images != others["train"].changed["unmarked"]).any(dim=3).any(dim=2).any(dim=1)
    assert len(set(others["train"].labels[drawn].tolist())) > 1


def test_a_row_by_hand(tmp_path, monkeypatch):
    monkeypatch.setattr(shortcuts, "MEASURED", tmp_path)
    with pytest.raises(UserError, match=r"ring.csv is missing: 'python -m docs.shortcuts measure ring 0 1'"):
        shortcuts.load()
    row = {"lost": 0.5, "taken": 0.75, "accuracy": 0.9, "accuracy_unmarked": 0.8, "accuracy_marked": 0.25}
    table = pd.DataFrame([row | {"found_first": seed < 3, "not_planted": int(seed == 2)} for seed in range(4)])
    for kind in shortcuts.KINDS:
        files.write_csv(tmp_path / f"{kind}.csv", table)
    text = shortcuts.page(shortcuts.load())
    found, alarms = "3 of 4 (75 % [30, 95])", "1 of 4 (25 % [5, 70])"
    assert (
        f"| a ring in the lower left corner | 4 | {found} | {alarms} | 90.0 % | 80.0 % | 25.0 % | 50 %, 75 % |" in text
    )
    assert f"| none: the ring is on images of all classes | 4 | - | {alarms} |" in text


def test_repairs_by_hand(tmp_path, monkeypatch):
    """Five networks in which one way mends everything, with no image lost."""
    monkeypatch.setattr(shortcuts, "MEASURED", tmp_path)
    row = {"lost": 0.5, "taken": 0.75, "accuracy": 0.9, "accuracy_unmarked": 0.8, "accuracy_marked": 0.25}
    for kind in shortcuts.KINDS:
        files.write_csv(tmp_path / f"{kind}.csv", pd.DataFrame([row | {"found_first": True, "not_planted": 0}]))
    values = {
        "clean": (0.95, 0.9375),
        "moved": (0.9, 0.25),
        "planted mark moved": (0.875, 0.25),
        "worst_group": (0.5, 0),
    }
    pairs = [
        {"way": "paste", "against": rival, "repeat": seed, "measure": measure, "value": value, "value_against": other,
         "p": 1e-9, "trained_without_the_mark": 0.9375, "still_found": False}
        for seed in range(5)
        for rival in ("original", "more training", "elsewhere")
        for measure, (value, other) in values.items()
    ]  # fmt: skip
    files.write_csv(tmp_path / "repair-ring.csv", pd.DataFrame(pairs))
    text = shortcuts.page(shortcuts.load())
    shares = "87.5 % | 25.0 % | 25.0 % | 25.0 % | 93.8 %"
    assert f"| a ring in the lower left corner | `paste` | 5 | {shares} | +1.2 | 0 of 5 |" in text
    assert (
        "- A ring in the lower left corner, paste: fixed. With the shortcut on the wrong classes accuracy is 87.5 %"
        in text
    )
    files.write_csv(tmp_path / "repair-ring.csv", pd.DataFrame(pairs[:12]))
    assert "A ring in the lower left corner, paste" not in shortcuts.page(shortcuts.load()), "one network is no test"
