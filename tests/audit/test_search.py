"""Candidates are found in maps, and tested by intervention on other images."""

import numpy as np
import pytest
import torch
from torch import nn

import glassbox
from glassbox.audit import search
from glassbox.audit.candidates import Property, Region
from glassbox.audit.report import audit_of
from glassbox.core.errors import UserError

SIDE, N = 16, 120
CORNER = np.zeros((SIDE, SIDE), bool)
CORNER[12:15, 1:4] = True


class Corner(nn.Module):
    """Class 1 where the mean of the pixels of a mask (H, W) is high."""

    def __init__(self, mask: np.ndarray) -> None:
        super().__init__()
        self.register_buffer("mask", torch.from_numpy(mask))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = 40 * (x[:, :, self.mask].mean(dim=(1, 2)) - 0.65)
        return torch.stack([-z / 2, z / 2], dim=1)


def made(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise, in which images of class 1 have a bright corner."""
    rng = np.random.default_rng(seed)
    images = rng.integers(60, 140, (N, SIDE, SIDE, 3)).astype(np.uint8)
    labels = np.arange(N) % 2
    images[(labels == 1)[:, None, None] & CORNER] = 230
    return images, labels


def found(mask: np.ndarray, **how) -> "glassbox.Audit":
    images, labels = made(0)
    held_out, their_labels = made(1)
    return glassbox.find_shortcuts(
        classifier=glassbox.Classifier(Corner(mask), classes=("plain", "marked")),
        images=images,
        labels=labels,
        held_out=held_out,
        held_out_labels=their_labels,
        **{"explainers": ("integrated_gradients",)} | how,
    )


def test_the_corner_that_decides_is_found_without_being_named():
    audit = found(CORNER)
    first = audit.candidates[0]
    assert isinstance(first, Region)
    assert first.mask[CORNER].all()
    assert first.mask.sum() <= 25
    row = audit.table.iloc[0]
    assert (row["class"], bool(row["confirmed"])) == ("marked", True)
    assert row["candidate"].startswith("the lower left corner (")
    # All images of the class carry the corner, and of 60 others two that are alike are left out.
    assert (row["n"], row["n_others"]) == (60, 58)
    # Without the corner no image stays in the class, with it all are in it; other regions do nothing.
    assert (row["lost"], row["taken"]) == (1, 1)
    assert row["removed"] == pytest.approx(1, abs=0.01)
    assert 0.9 < row["lost_low"] < row["lost_high"] <= 1.05
    sentences = audit.sentences()
    assert sentences[0].startswith("marked leans on the lower left corner (")
    assert "100 % [9" in sentences[0]
    assert sentences[-1].startswith("Confirmed: 1 of ")
    assert "tested on 120 others" in sentences[-1]


def test_a_network_that_looks_elsewhere_has_no_finding():
    audit = found(~CORNER)  # everywhere: whatever is bright there is not tied to a class
    assert audit.confirmed.empty
    assert audit.sentences()[0].startswith("No class is shown to lean on a fixed region or property: ")


def test_the_same_seed_finds_the_same():
    a, b = found(CORNER), found(CORNER)
    assert a.table.equals(b.table)


def test_a_candidate_that_does_nothing_is_not_confirmed():
    images, labels = made(1)
    classifier = glassbox.Classifier(Corner(CORNER), classes=("plain", "marked"))
    other = Region(1, "by hand", np.rot90(CORNER, 2))
    table = search.test(classifier, [other, Property(1, "images", "contrast")], images, labels, batch_size=64, seed=0)
    assert not table["confirmed"].any()
    assert table.loc[0, "taken"] == 0
    for name in ("removed", "put"):
        assert table.loc[0, name] == pytest.approx(0, abs=0.2)  # its controls may lie on the corner that decides


def test_the_strongest_confirmed_candidate_is_first_and_its_parts_are_left_out():
    images, labels = made(1)
    classifier = glassbox.Classifier(Corner(CORNER), classes=("plain", "marked"))
    part = CORNER.copy()
    part[12] = False
    some = [Region(1, "a", np.rot90(CORNER, 2)), Region(1, "b", part), Region(1, "c", CORNER)]
    table = search.test(classifier, some, images, labels, batch_size=64, seed=0)
    audit = audit_of(some, table, ("plain", "marked"), (N, N))
    assert audit.table["source"].tolist() == ["c", "a"]


def test_a_class_without_held_out_images_is_not_tested():
    images, labels = made(1)
    classifier = glassbox.Classifier(Corner(CORNER), classes=("plain", "marked"))
    plain = labels == 0
    table = search.test(classifier, [Region(1, "c", CORNER)], images[plain], labels[plain], batch_size=64, seed=0)
    assert (table.loc[0, "n"], bool(table.loc[0, "confirmed"])) == (0, False)
    assert np.isnan(table.loc[0, "lost"])


def test_images_without_any_candidate_have_a_sentence():
    rng = np.random.default_rng(0)
    maps, images, labels = rng.random((40, 8, 8)), np.full((40, 8, 8, 3), 100, np.uint8), np.arange(40) % 2
    assert search.find({"some": maps}, None, images, labels, seed=0) == []
    table = search.test(glassbox.Classifier(Corner(CORNER)), [], images, labels, batch_size=8, seed=0)
    audit = audit_of([], table, ("a", "b"), (40, 40))
    assert audit.confirmed.empty
    assert audit.sentences() == [
        "No class is shown to lean on a fixed region or property: 0 candidates from the maps of 40 images, tested on "
        "40 others."
    ]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"labels": [1] * N}, "labels name one class: a shortcut is what one class has"),
        ({"held_out": np.zeros((N, 8, 8, 3), np.uint8)}, "images have 16 x 16 pixels, held_out 8 x 8: they must be"),
        ({"held_out_labels": [0]}, r"held_out_labels are \(1,\), but there are 120 images"),
        ({"explainers": ["magic"]}, "magic"),
    ],
)
def test_what_cannot_be_searched_is_refused(changes, sentence):
    images, labels = made(0)
    given = {"images": images, "labels": labels, "held_out": images, "held_out_labels": labels}
    with pytest.raises(UserError, match=sentence):
        glassbox.find_shortcuts(classifier=glassbox.Classifier(Corner(CORNER)), **given | changes)


def test_a_candidate_of_few_images_is_tested_on_the_whole_class():
    """Where an object happens to lie in a few images is no shortcut, and those must not be chosen for it."""
    images, labels = made(1)
    template = CORNER[..., None] * np.ones(3)
    few = Region(1, "by hand", CORNER, 0.1, template, threshold=9 * 3 * 200)
    images[(labels == 1) & (np.arange(N) >= 20)] = 100  # ten of sixty carry the corner
    own, others = search.carriers(few, images, labels)
    assert own.tolist() == np.flatnonzero(labels == 1).tolist()
    assert others.tolist() == np.flatnonzero(labels == 0).tolist()
    images, _ = made(1)
    images[(labels == 1) & (np.arange(N) >= 40)] = 100  # twenty
    own, _ = search.carriers(few, images, labels)
    assert own.tolist() == list(range(1, 40, 2))
