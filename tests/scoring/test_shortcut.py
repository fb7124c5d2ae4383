import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from glassbox.core.errors import UserError
from glassbox.data import watermark
from glassbox.data.store import Split
from glassbox.scoring import shortcut

SIDE = 4
GLYPH, MARK = (0, 0), (3, 3)  # pixels
LABELS = torch.tensor([1] * 4 + [0] * 6)  # of class 1 is what shows the glyph
EVERY = torch.ones(10, dtype=torch.bool)


def images(marked: torch.Tensor) -> torch.Tensor:
    """(10, 4, 4, 3): the glyph's pixel is white in images of class 1, the watermark's where `marked` (10,)."""
    made = torch.zeros(len(LABELS), SIDE, SIDE, 3, dtype=torch.uint8)
    made[LABELS == 1, *GLYPH] = 255
    made[marked, *MARK] = 255
    return made


@pytest.fixture
def test() -> Split:
    order = torch.arange(len(LABELS))
    changed = {"removed": images(LABELS == 1), "unmarked": images(~EVERY), "marked": images(EVERY)}
    return Split(images(LABELS == 1), LABELS, None, order, None, changed, {"noise": images(order % 3 == 0)})


@pytest.fixture
def looking_at(probability):
    """Classifiers whose class 1 has the probability 0.1 + what the white pixels weigh."""

    def make(**weights: float):
        values = np.zeros((SIDE, SIDE))
        values[GLYPH], values[MARK] = weights.get("glyph", 0), weights.get("mark", 0)
        return probability(values, 0.1)

    return make


def test_the_watermark_is_found_in_the_images(test):
    assert watermark.target_of(test) == 1
    masks = watermark.masks_of(test)
    assert masks.shape == (10, SIDE, SIDE)
    assert masks.dtype == bool
    assert all(np.argwhere(mask).tolist() == [list(MARK)] for mask in masks)


@pytest.mark.parametrize("lacks", ["noise", "unmarked", "marked", None])
def test_it_is_measured_where_there_are_the_arm_and_both_interventions(test, lacks):
    changed = {name: pixels for name, pixels in test.changed.items() if name != lacks}
    arms = {name: pixels for name, pixels in test.arms.items() if name != lacks} | {"another": test.images}
    assert watermark.applies(replace(test, changed=changed, arms=arms)) == (lacks is None)


@pytest.mark.parametrize("fault", ["two classes", "none", "not everywhere"])
def test_a_source_whose_watermark_is_none_is_told(test, fault):
    wrong = {
        "two classes": replace(test, images=images(EVERY)),
        "none": replace(test, images=images(~EVERY)),
        "not everywhere": replace(test, changed=test.changed | {"marked": images(LABELS == 1)}),
    }[fault]
    with pytest.raises(UserError, match="a watermark must lie on the images of one class") as refused:
        watermark.target_of(wrong)
    assert "\n" not in str(refused.value)


def test_a_network_that_sees_only_the_watermark(test, looking_at):
    seen = []
    made = shortcut.measure(looking_at(mark=0.8), looking_at(glyph=0.8), test, 4, seen.append)
    assert sum(seen) == 6 * len(test)
    assert made.target == 1
    confounded, control = made.arms.to_dict("records")
    # Without watermarks class 0 is all that it says: 6 of 10 are right instead of 10 of 10.
    assert (confounded["arm"], confounded["n"]) == ("confounded", 10)
    assert (confounded["accuracy"], confounded["accuracy_unmarked"]) == (1.0, 0.6)
    assert confounded["lost"] == pytest.approx(0.4)
    # One image more that only marks help to recognise, and one that they do not: (5 - 1) / 12, variance 6 / 12 - 1 / 9.
    half = 1.959964 * np.sqrt((1 / 2 - 1 / 9) / 12)
    assert [confounded["low"], confounded["high"]] == pytest.approx([1 / 3 - half, 1 / 3 + half])
    assert (confounded["recall_unmarked"], confounded["drawn"], confounded["changed"]) == (0.0, 1.0, 1.0)
    assert (control["accuracy"], control["accuracy_unmarked"]) == (1.0, 1.0)
    assert [control[name] for name in ("lost", "drawn", "changed")] == [0.0] * 3
    # That none of ten images was lost does not say that none ever is: variance 2 / 12.
    assert [control["low"], control["high"]] == pytest.approx([-1.959964 * np.sqrt(2) / 12, 1.959964 * np.sqrt(2) / 12])
    assert control["recall_unmarked"] == 1.0
    assert made.has_control


def test_what_is_lost_is_a_share_of_the_accuracy_that_there_was(test, looking_at):
    # By the watermark alone, which three images of class 1 and one of class 0 carry: 3 + 5 of 10 are right, and without
    # watermarks 6: of 0.8 there are 0.2 gone.
    carrying = torch.isin(torch.arange(len(LABELS)), torch.tensor([0, 1, 2, 4]))
    test = replace(test, arms={"noise": images(carrying)})
    made = shortcut.measure(looking_at(mark=0.8), looking_at(mark=0.8), test, 10)
    control = made.arms.iloc[1]
    assert (control["accuracy"], control["accuracy_unmarked"]) == (0.8, 0.6)
    assert control["lost"] == pytest.approx(0.25)
    # Lost are rows 0 to 2, found is row 4: with one more of each (4 - 2) / 12, variance 6 / 12 - 1 / 36; share of 0.8.
    half = 1.959964 * np.sqrt((1 / 2 - 1 / 36) / 12)
    assert [control["low"], control["high"]] == pytest.approx([(1 / 6 - half) / 0.8, (1 / 6 + half) / 0.8])


@pytest.mark.parametrize(
    ("weights", "passed"),
    [
        ({"glyph": 0.8}, [True, True]),
        ({}, [False, True]),  # says class 0 of everything
        ({"mark": 0.8}, [False, False]),
        ({"glyph": 0.45, "mark": 0.45}, [True, False]),  # right without watermarks, and drawn by them all the same
    ],
)
def test_a_control_must_know_the_glyph_and_not_mind_the_watermark(test, looking_at, weights, passed):
    made = shortcut.measure(looking_at(mark=0.8), looking_at(**weights), test, 10)
    assert made.gate["check"].tolist() == ["accuracy_unmarked", "changed"]
    assert made.gate["limit"].tolist() == [0.99, 0.01]
    assert made.gate["passed"].tolist() == passed
    assert made.has_control is all(passed)
    control = made.arms.iloc[1]
    assert made.gate["value"].tolist() == [control["accuracy_unmarked"], control["changed"]]


def test_a_mark_of_the_whole_image_leaves_nothing_to_contrast(test, looking_at):
    everywhere = test.changed | {"marked": 255 - test.changed["unmarked"]}
    made = shortcut.measure(looking_at(mark=0.8), looking_at(glyph=0.8), replace(test, changed=everywhere), 10)
    assert made.gate.iloc[-1].tolist() == ["covered", 1.0, 0.5, False]
    assert not made.has_control
    assert "covered is 1, limit 0.5" in shortcut.summary(made, None)["verdicts"][1]


def test_a_network_that_is_never_right_has_nothing_to_lose_and_draws_none_to_the_target(test, looking_at):
    wrong = looking_at(glyph=-0.8)  # class 1 for every image of class 0
    wrong.network.floor = 0.9
    made = shortcut.measure(wrong, wrong, test, 10)
    assert (made.arms[["accuracy", "lost", "drawn"]] == 0).all(axis=None)
    assert made.arms[["low", "high"]].isna().all(axis=None)
    told = shortcut.summary(made, None)
    assert told["verdicts"][0] == (
        "Without the watermark the network that learnt it as a shortcut loses 0.0 % of its accuracy, the control, for "
        "which it was noise, 0.0 %."
    )
    assert [row["low"] for row in json.loads(json.dumps(told, allow_nan=False))["arms"]] == [None, None]


def test_no_more_than_all_can_be_lost_and_no_image_lost_of_many_has_an_honest_interval():
    labels = np.repeat([0, 1], 5)
    row = shortcut._reliance(np.zeros(10, int), np.ones(10, int) - labels, labels, labels, 1)  # 5 right, then none
    assert (row["lost"], row["high"]) == (1, 1)
    assert row["low"] < 1
    # 0 of 2,000: 1.96 * sqrt(2) / 2,002; a tenth is wrong either way, so that it is a share of 0.9.
    labels = np.arange(2000) % 5
    wrong = np.where(np.arange(2000) < 200, labels + 1, labels)
    row = shortcut._reliance(wrong, wrong, labels, labels, 1)
    assert row["lost"] == 0
    assert [-row["low"], row["high"]] == pytest.approx([1.959964 * np.sqrt(2) / 2002 / 0.9] * 2)


@pytest.mark.parametrize(("n", "lost"), [(100, 0.0), (400, 0.004), (400, 0.1), (2000, 0.002)])
def test_the_interval_of_what_is_lost_covers(n, lost):
    """Networks that recognise 90 % of the images, and without the watermark so many of these no more."""
    rng, held = np.random.default_rng(0), 0
    for _ in range(300):
        right = rng.random(n) < 0.9
        kept = right & (rng.random(n) >= lost)
        labels = np.zeros(n, int)
        row = shortcut._reliance(1 - right, 1 - kept, labels, labels, 0)
        held += row["low"] <= lost <= row["high"]
    assert held >= 280


def maps(shares: list[float]) -> np.ndarray:
    """(N, 4, 4) with a share of the positive attribution at the watermark, the rest at the glyph; the negative one
    beside them counts for nothing."""
    made = np.zeros((len(shares), SIDE, SIDE), np.float32)
    made[:, *MARK], made[:, *GLYPH], made[:, 1, 1] = shares, 1 - np.array(shares), -5.0
    return made


@pytest.fixture
def masks() -> np.ndarray:
    made = np.zeros((10, SIDE, SIDE), bool)
    made[:, *MARK] = True
    return made


def test_the_contrast_by_hand_and_what_is_salient_in_both_arms_exposes_nothing(masks):
    # All ten differences are positive: of the 2^10 signs one is as extreme on either side, p = 2 / 1024.
    high, used, less = np.full(10, 0.97), np.linspace(0.5, 0.95, 10), np.full(10, 0.25)
    pairs = {"salient": (high, high), "exposing": (used, less), "reversed": (less, used)}
    made = shortcut.table({name: (maps(a), maps(b)) for name, (a, b) in pairs.items()}, masks)
    columns = ["explainer", "n", "confounded", "control", "contrast", "low", "high", "p_holm", "outcome"]
    assert made.columns.tolist() == columns
    made = made.set_index("explainer")
    assert made["outcome"].to_dict() == {"salient": "undecided", "exposing": "better", "reversed": "worse"}
    assert made["confounded"].idxmax() == "salient"  # which its raw share would have called the best
    assert made.loc["salient", "contrast"] == 0.0
    exposing = made.loc["exposing", ["n", "confounded", "control", "contrast"]].tolist()
    assert exposing == pytest.approx([10, 0.725, 0.25, 0.475])
    assert 0.25 < made.loc["exposing", "low"] < 0.475 < made.loc["exposing", "high"] < 0.7
    assert made.loc["reversed", "high"] < 0
    p = 2 / 1024
    assert made["p_holm"].tolist() == pytest.approx([1.0, 3 * p, 3 * p])


def test_an_interval_above_0_is_not_enough_among_many_explainers(masks):
    # One of ten differences is negative, the fourth smallest: 7 subsets of the ranks have a sum of 4 at most, so that
    # p = 14 / 1024, which five explainers make more than 0.05.
    control = np.full(10, 0.25)
    confounded = control + np.array([0.1, 0.11, 0.12, -0.13, 0.2, 0.21, 0.22, 0.23, 0.24, 0.25])
    one = shortcut.table({"a": (maps(confounded), maps(control))}, masks)
    assert one["p_holm"].tolist() == pytest.approx([14 / 1024])
    assert one["outcome"].tolist() == ["better"]
    five = shortcut.table({name: (maps(confounded), maps(control)) for name in "abcde"}, masks)
    assert (five["low"] > 0).all()
    assert five["outcome"].tolist() == ["undecided"] * 5
    masks[3] = False
    with pytest.raises(AssertionError, match="without a watermark"):
        shortcut.table({"lime": (maps([0.5] * 10), maps([0.5] * 10))}, masks)


def test_in_words(test, looking_at, masks):
    measured = shortcut.measure(looking_at(mark=0.8), looking_at(glyph=0.8), test, 4)
    used, less = np.linspace(0.4, 0.6, 10), np.linspace(0.02, 0.18, 10)
    same = (maps(used), maps(used))
    pairs = {"lime": (maps(used), maps(less)), "grad_cam": same, "edges": same}
    told = shortcut.summary(measured, shortcut.table(pairs, masks))
    cost, first, second, controls = told["verdicts"]
    assert cost.startswith("Without the watermark the network that learnt it as a shortcut loses 40.0 % [")
    assert cost.endswith("of its accuracy, the control, for which it was noise, 0.0 % [-23.1, 23.1].")
    assert first == (
        "LIME exposes the shortcut: it gives the watermark 50.0 % of the positive attribution, in the control 10.0 %, "
        "a typical difference of 40.0 points [38.9, 41.1] on 10 images."
    )
    assert second.startswith("Grad-CAM is undecided about the shortcut: it gives the watermark 50.0 %")
    assert controls == "Controls that expose it: none."
    assert [row["outcome"] for row in told["contrast"]] == ["better", "undecided", "undecided"]
    assert [row["arm"] for row in told["arms"]] == ["confounded", "control"]


def test_without_a_control_nothing_is_contrasted(test, looking_at):
    measured = shortcut.measure(looking_at(mark=0.8), looking_at(mark=0.8), test, 4)
    told = shortcut.summary(measured, None)
    assert told["contrast"] is None
    assert told["verdicts"][1].startswith("Whether explainers expose it is not measured, because a condition fails: ")
    assert "changed is 1, limit 0.01" in told["verdicts"][1]
