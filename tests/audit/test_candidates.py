"""Regions and properties that a class may lean on, by hand."""

import numpy as np
import pytest

from glassbox.audit import candidates
from glassbox.audit.candidates import PROPERTIES, Property, Region


def square(side: int, top: int, left: int, size: int) -> np.ndarray:
    mask = np.zeros((side, side), bool)
    mask[top : top + size, left : left + size] = True
    return mask


def test_regions_are_where_a_class_has_more_of_its_relevance():
    rng = np.random.default_rng(0)
    own, others = (rng.random((60, 16, 16)) for _ in range(2))
    own[:, 12:15, 1:4] += 30
    own, others = (shares / shares.sum(axis=(1, 2), keepdims=True) for shares in (own, others))
    (mask,) = candidates.regions(own, others)
    assert mask[12:15, 1:4].all()
    assert mask.sum() <= 25  # with the pixels around it
    assert candidates.regions(others, others) == []
    own[:, 1:4, 12:15] += 30 / 500
    both = candidates.regions(own, others)
    assert len(both) == 3  # all of it, and either part
    assert (both[0] == both[1] | both[2]).all()


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (square(30, 25, 1, 4), "lower left corner"),
        (square(30, 1, 13, 4), "top"),
        (square(30, 12, 12, 6), "middle"),
        (~square(30, 1, 1, 28), "border"),
        (np.abs(np.arange(30) - 14.5)[None].repeat(30, axis=0) > 12, "border"),  # the left and the right edge
        (np.arange(30)[None].repeat(30, axis=0) < 3, "left edge"),
    ],
)
def test_places_have_names(mask, words):
    assert candidates.place(mask) == words


def test_a_region_is_taken_from_donors_and_its_control_lies_elsewhere():
    region = Region(0, "maps", square(12, 8, 1, 3))
    images, donors = np.zeros((2, 12, 12, 3), np.uint8), np.full((2, 12, 12, 3), 9, np.uint8)
    changed = region.changed(images, donors)
    assert (changed[:, region.mask] == 9).all()
    assert changed.sum() == 2 * 9 * 3 * 9  # nine pixels of two images
    control = region.control(images, donors, np.random.default_rng(0))
    assert control.sum() == changed.sum()
    assert (control[:, region.mask] == 0).all()
    assert region.words == "the lower left corner (6.2 % of the image)"


def test_a_wider_region_has_the_same_carriers():
    template = square(12, 8, 1, 3)[..., None] * np.ones(3)
    region = Region(0, "maps", square(12, 8, 1, 3), 1.0, template, 9 * 3 * 5.0)
    wider = region.widened(1)
    assert wider.mask.sum() == 9 + 4 * 3  # without the corners
    assert wider.mask[region.mask].all()
    assert region.widened(0) is region
    images = np.zeros((2, 12, 12, 3), np.uint8)
    images[1, region.mask] = 9
    assert region.carried_by(images).tolist() == wider.carried_by(images).tolist() == [False, True]


def test_regions_are_alike_or_parts_of_each_other():
    large, small = square(12, 4, 4, 4), square(12, 4, 4, 2)
    assert candidates.is_known(square(12, 4, 4, 4), [small, large])
    assert not candidates.is_known(small, [large])  # a quarter of it
    assert candidates.is_within(small, large)
    assert not candidates.is_within(large, small)


@pytest.mark.parametrize("name", PROPERTIES)
def test_a_property_is_given_the_value_of_a_donor_or_one_as_far_the_other_way(name):
    rng = np.random.default_rng(0)
    measure, _ = PROPERTIES[name]
    images = rng.integers(100, 140, (4, 8, 8, 3)).astype(np.uint8)
    donors = rng.integers(80, 130, (4, 8, 8, 3)).astype(np.uint8)
    donors[..., 0] += 10
    one = Property(1, "images", name)
    before, goal = measure(images), measure(donors)
    after, control = measure(one.changed(images, donors)), measure(one.control(images, donors, rng))
    assert np.abs(before - goal).min() > 0.005
    # A brighter channel also raises the mean that its share refers to.
    reach = 0.6 if name.startswith("share") else 0.95
    assert ((after - before) / (goal - before) > reach).all()
    assert ((control - before) / (goal - before) < -reach * 0.9).all()


def test_properties_that_tell_a_class_from_others_are_candidates():
    rng = np.random.default_rng(0)
    images = rng.integers(60, 180, (80, 8, 8, 3)).astype(np.uint8)
    of_class = np.arange(80) < 20
    assert candidates.properties(images, of_class) == []
    images[of_class] += 40
    assert candidates.properties(images, of_class) == ["brightness", "brightness of the border"]
