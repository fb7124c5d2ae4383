from dataclasses import replace

import numpy as np
import pytest
import torch

from glassbox.data.store import Split
from glassbox.scoring import planted_gate

N = 100
LABELS = np.arange(N) % 2
ANOTHER, MOVING = "predictions changed by another glyph", "predictions changed by moving the distractor"


def images(right: np.ndarray) -> torch.Tensor:
    """2 x 2 images, white where the toy model is to predict 1, black where it is to predict 0."""
    return torch.from_numpy(np.broadcast_to(255 * right[:, None, None, None], (N, 2, 2, 3)).astype(np.uint8).copy())


def split(**changes: np.ndarray) -> Split:
    changed = {"removed": np.zeros(N, int), "swapped": 1 - LABELS, "moved": LABELS} | changes
    pictures = changes.pop("pixels", LABELS)
    interventions = {name: images(values) for name, values in changed.items()}
    masks = torch.ones(N, 2, 2, dtype=torch.uint8)
    return Split(images(pictures), torch.from_numpy(LABELS), masks, torch.arange(N), None, interventions)


@pytest.fixture
def model(probability):
    return probability(np.full((2, 2), 0.2), floor=0.1)  # P(1) is 0.1 or 0.9


def flipped(values: np.ndarray, n: int) -> np.ndarray:
    return np.where(np.arange(N) < n, 1 - values, values)


def test_a_model_that_uses_the_glyph_passes(model):
    checks = planted_gate.check(model, split(), batch_size=32)
    assert [c.value for c in checks] == [1.0, 0.5, 1.0, 0.0]
    assert planted_gate.refusal(checks) is None
    assert checks[1].limit == "chance, 0.5"


@pytest.mark.parametrize(
    ("change", "values"),
    [
        ({}, {}),
        ({"swapped": flipped(1 - LABELS, 1), "moved": flipped(LABELS, 1)}, {}),  # just within the limits
        ({"pixels": flipped(LABELS, 2)}, {"accuracy": 0.98, ANOTHER: 0.98, MOVING: 0.02}),
        ({"removed": LABELS}, {"accuracy without the glyph": 1.0}),
        ({"removed": flipped(LABELS, 35)}, {"accuracy without the glyph": 0.65}),
        ({"swapped": flipped(1 - LABELS, 2)}, {ANOTHER: 0.98}),
        ({"moved": flipped(LABELS, 2)}, {MOVING: 0.02}),
    ],
)
def test_each_condition_can_fail(model, change, values):
    checks = planted_gate.check(model, split(**change), batch_size=32)
    assert {c.name: c.value for c in checks if not c.passed} == pytest.approx(values)


def test_the_refusal_names_what_failed(model):
    refusal = planted_gate.refusal(planted_gate.check(model, split(moved=flipped(LABELS, 5)), batch_size=32))
    assert refusal == (
        "Explainers are not scored, because the model does not use the glyph and it alone: predictions changed by "
        "moving the distractor is 0.05 and must be at most 0.01."
    )


@pytest.mark.parametrize("lacks", [None, *planted_gate.NEEDED, "masks"])
def test_it_applies_where_there_are_masks_and_all_three_interventions(model, lacks):
    whole = split()
    changed = {name: pictures for name, pictures in whole.changed.items() if name != lacks} | {"marked": whole.images}
    test = replace(whole, changed=changed, masks=None if lacks == "masks" else whole.masks)
    assert planted_gate.applies(test) == (lacks is None)
    assert (planted_gate.check(model, test, batch_size=32) == []) == (lacks is not None)
