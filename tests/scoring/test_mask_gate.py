import json

import numpy as np
import pytest
import torch

from glassbox.core import files
from glassbox.data.store import Split
from glassbox.explainers import factory
from glassbox.scoring import mask_gate, planted_gate, verdicts

SIDE, MARK = 12, slice(1, 4)  # the marked rows and columns
OTHER = slice(7, 10)  # a region of the same size, in the opposite corner
MIDDLE = 120  # of the grey images; the toy model takes more than 127.5 for class 1


def split(each: int = 40, classes: int = 2) -> Split:
    """Grey images in which two squares tell the class: dark ones class 0, bright ones class 1. The first is marked."""
    labels = np.arange(classes * each) % classes
    pixels = np.full((len(labels), SIDE, SIDE, 3), MIDDLE, np.uint8)
    masks = np.zeros((len(labels), SIDE, SIDE), np.uint8)
    for square in (MARK, OTHER):
        pixels[:, square, square] = (255 * labels)[:, None, None, None]
    masks[:, MARK, MARK] = 1
    return Split(
        torch.from_numpy(pixels), torch.from_numpy(labels), torch.from_numpy(masks), torch.arange(len(labels)), None
    )


@pytest.fixture
def gate(params, probability):
    """The result for a model that looks at a square only: P(1) is its mean brightness."""

    def run(test: Split, looks_at: slice, n_classes: int = 2, predicted: np.ndarray | None = None) -> dict:
        weights = np.zeros((SIDE, SIDE))
        weights[looks_at, looks_at] = 1 / 9
        setup = factory.setup(
            classifier=probability(weights),
            settings=params.explain,
            train=test.images,
            mean=(MIDDLE / 255,) * 3,
            batch_size=32,
            seed=0,
        )
        predicted = test.labels.numpy() if predicted is None else predicted
        return mask_gate.measure(setup, test, predicted, n_classes)

    return run


def outcomes(found: dict) -> dict[str, str]:
    return {row["filling"]: row["outcome"] for row in found["fillings"]}


def test_a_model_that_uses_the_marked_region_alone_makes_masks_the_truth(gate):
    found = gate(split(), MARK)
    # Grey in its place is class 0: the images of class 0 stay right, the others do not. Blur leaves the square visible.
    assert outcomes(found) == {"inpainted": "truth", "blurred": "plausibility", "mean colour": "truth"}
    inpainted, blurred, _ = found["fillings"]
    assert (inpainted["hidden"], inpainted["elsewhere"], blurred["hidden"]) == (0.5, 1.0, 1.0)
    # Of class 0, P falls from 1 to 1 - 120/255, of class 1 to 120/255: 0.5 on average.
    assert inpainted["drop_hidden"] == pytest.approx(0.5, abs=1e-3)
    assert inpainted["drop_elsewhere"] == pytest.approx(0)
    assert found["outcome"] == "truth"
    assert (found["images"], found["classes"], found["too_large"]) == (80, 2, 0)
    assert (found["chance"], found["below"], found["above"]) == (0.5, 0.75, 0.875)
    assert found["sentence"] == (
        "The model uses what the masks mark, so localization counts as truth: on 80 recognised test images, hiding the "
        "marked region leaves 50 to 100 % recognised (the limit is 75 %), hiding as much elsewhere 100 % (the limit is "
        "88 %)."
    )
    assert not verdicts.plausible({"masks": found})
    json.dumps(found, allow_nan=False)


def test_a_model_that_uses_the_rest_makes_them_plausible(gate):
    found = gate(split(), OTHER)
    assert set(outcomes(found).values()) == {"plausibility"}
    assert found["outcome"] == "plausibility"
    assert [row["hidden"] for row in found["fillings"]] == [1, 1, 1]
    assert found["sentence"].startswith(
        "Localization is plausibility, and no verdict rests on it: on 80 recognised test images, hiding the marked "
        "region leaves 100 % recognised (the limit is 75 %), hiding as much elsewhere "
    )
    assert verdicts.plausible({"masks": found})


def test_few_images_are_undecided(gate):
    """With eight images a class, the interval of "all are still recognised" goes below the limit."""
    found = gate(split(each=8), MARK)
    assert outcomes(found)["inpainted"] == found["outcome"] == "undecided"
    assert found["fillings"][0]["elsewhere"] == 1
    assert found["fillings"][0]["elsewhere_low"] < found["above"]
    assert found["sentence"].startswith(
        "It is undecided whether the model uses what the masks mark, so localization is "
    )
    none = gate(split(each=7), MARK)
    assert (none["images"], none["fillings"], none["outcome"]) == (0, [], "undecided")
    assert none["sentence"].endswith("no class has 8 recognised test images with a mask of at most half of the image.")
    assert verdicts.plausible({"masks": none})


def test_one_class_without_marks_needs_no_other_limit(gate):
    """Class 0 has no defect and no mask: without its mark an image of class 1 is taken for class 0."""
    test = split()
    test.masks[test.labels == 0] = 0
    found = gate(test, MARK)
    assert (found["images"], found["classes"], found["outcome"]) == (40, 1, "truth")
    assert found["fillings"][0]["hidden"] == 0


def test_which_images_are_taken():
    test = split(each=150)
    predicted = test.labels.numpy().copy()
    predicted[:20] = 1 - predicted[:20]  # mistakes
    test.masks[20:22] = 1  # all is marked
    test.masks[22:40] = 0  # nothing is
    rows, too_large = mask_gate.choose(test, predicted, seed=0)
    assert too_large == 2
    assert len(rows) == len(set(rows.tolist())) == mask_gate.MOST
    assert min(rows) >= 40
    assert np.bincount(test.labels.numpy()[rows]).tolist() == [100, 100]
    assert np.array_equal(rows, mask_gate.choose(test, predicted, seed=0)[0])
    many = split(each=8, classes=30)
    assert len(mask_gate.choose(many, many.labels.numpy(), seed=0)[0]) == mask_gate.MOST


def test_the_same_shape_elsewhere_does_not_overlap():
    mask = np.zeros((9, 7), bool)
    mask[2:5, 1] = mask[4, 1:4] = True  # an L
    places = mask_gate.elsewhere(mask, 50, seed=1)
    assert not (places & mask).any()
    assert len(np.unique(places, axis=0)) > 10
    for place in places:
        rows, columns = np.nonzero(place)
        moved = np.zeros_like(mask)
        moved[rows - rows.min() + 2, columns - columns.min() + 1] = True
        assert np.array_equal(moved, mask)
    assert np.array_equal(places, mask_gate.elsewhere(mask, 50, seed=1))


def test_a_shape_that_fits_nowhere_else_becomes_as_many_pixels_together():
    mask = np.zeros((8, 8), bool)
    mask[:, 3:5] = mask[3:5] = True  # a cross from border to border: 28 of 64 pixels
    places = mask_gate.elsewhere(mask, 5, seed=0)
    assert not (places & mask).any()
    assert places.sum(axis=(1, 2)).tolist() == [28] * 5
    assert len(np.unique(places, axis=0)) > 1


def test_it_applies_to_masks_that_were_not_planted():
    test = split(each=8)
    assert mask_gate.applies(test)
    changed = dict.fromkeys(planted_gate.NEEDED, test.images)
    assert not mask_gate.applies(Split(test.images, test.labels, test.masks, test.index, None, changed))
    assert not mask_gate.applies(Split(test.images, test.labels, None, test.index, None))
    assert not verdicts.plausible({"checks": [], "refusal": None})


def test_it_can_be_written(gate, tmp_path):
    files.write_json(tmp_path / "gate.json", {"masks": gate(split(each=8), MARK)})
