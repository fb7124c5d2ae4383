"""An audit as files, and the findings that a person accepts."""

import json

import numpy as np
import pandas as pd
import pytest

from glassbox.audit import stored
from glassbox.audit.candidates import Property, Region
from glassbox.audit.report import Audit
from glassbox.core.errors import UserError
from glassbox.core.text import MINUS

SIDE = 8
MASK = np.zeros((SIDE, SIDE), bool)
MASK[6:, :2] = True
CANDIDATES = [
    Region(1, "grad_cam", MASK, 0.5, MASK[..., None] * np.arange(3.0), 7.5),
    Property(0, "images", "contrast"),
    Region(1, "lime, grouped by last features", ~MASK, 0.25),
]


@pytest.fixture
def folder(tmp_path):
    table = pd.DataFrame(
        {
            "class": ["dog", "cat", "dog"],
            "candidate": [one.words for one in CANDIDATES],
            "source": [one.source for one in CANDIDATES],
            "carriers": [0.5, np.nan, 0.25],
            "n": 4, "n_others": 4, "removed": 0.75, "removed_low": 0.5, "removed_high": 0.875, "put": 0.125,
            "put_low": -0.125, "put_high": 0.25, "lost": 0.5, "lost_low": 0.25, "lost_high": 0.75, "taken": 0.5,
            "taken_low": 0.25, "taken_high": 0.75, "confirmed": [True, False, False],
        }
    )  # fmt: skip
    stored.write(tmp_path, Audit(CANDIDATES, table, (40, 20)))
    return tmp_path


def test_what_is_written_comes_back(folder):
    first, second, third = stored.read(folder)
    assert (first.label, first.source, first.carriers, first.threshold) == (1, "grad_cam", 0.5, 7.5)
    assert (first.mask == MASK).all()
    assert (first.template == CANDIDATES[0].template).all()
    assert second == CANDIDATES[1]
    assert third.template is None
    assert (third.mask == ~MASK).all()
    summary = json.loads((folder / "audit.json").read_text())
    assert (summary["searched"], summary["confirmed"], summary["candidates"]) == (True, 1, 3)
    assert summary["sentences"][0] == (
        "dog leans on the lower left corner (6.2 % of the image), which has more relevance in 50 % of its images than "
        "in nearly all others. Its images with that of other classes, compared with other regions of that size: the "
        "probability falls by 0.75 [0.50, 0.88], 50 % [25, 75] more of the recognised ones are lost (4 images). Images "
        f"of other classes that are given it: whether the probability rises is undecided (0.12 [{MINUS}0.12, 0.25]), "
        "50 % [25, 75] more are taken for the class (4 images)."
    )


def test_without_any_candidate_there_is_nothing_to_read(tmp_path):
    stored.write(tmp_path, Audit([], pd.DataFrame({"confirmed": pd.Series(dtype=bool)}), (40, 20)))
    assert stored.read(tmp_path) == []


def test_a_person_accepts_findings_or_describes_some(folder):
    chosen = stored.accepted([2, "dog:1,2,3,4", "cat:brightness"], folder, ("cat", "dog"), SIDE)
    assert chosen[0] == CANDIDATES[1]
    assert np.argwhere(chosen[1].mask)[[0, -1]].tolist() == [[2, 1], [5, 3]]
    assert chosen[1].label == 1
    assert chosen[2] == Property(0, "params.yaml", "brightness")


def test_regions_of_the_audit_are_widened_and_those_of_a_person_are_not(folder):
    found, own = stored.accepted([1, "dog:0,6,2,2"], folder, ("cat", "dog"), SIDE, margin=1)
    assert (found.mask.sum(), own.mask.sum()) == (8, 4)
    assert found.mask[MASK].all()


def test_findings_of_a_person_need_no_audit(tmp_path):
    (one,) = stored.accepted(["a:b:contrast"], tmp_path, ("c", "a:b"), SIDE)
    assert (one.label, one.name) == (1, "contrast")


@pytest.mark.parametrize(
    ("finding", "sentence"),
    [
        (4, r"repair\.findings has 4, but .*findings\.csv has 3 findings"),
        ("cow:contrast", r"repair\.findings has 'cow:contrast': 'cow' must be one of the classes cat and dog"),
        ("dog:size", r"after the class it must have LEFT,TOP,WIDTH,HEIGHT in pixels, or one of brightness, contrast"),
        ("dog:1,2,3", "after the class it must have LEFT,TOP,WIDTH,HEIGHT"),
    ],
)
def test_findings_that_do_not_exist_are_refused(folder, finding, sentence):
    with pytest.raises(UserError, match=sentence):
        stored.accepted([finding], folder, ("cat", "dog"), SIDE)
