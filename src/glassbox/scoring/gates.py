"""Whether masks tell the truth about the model: the content of gate.json."""

from typing import Any

import numpy as np

from glassbox.data.store import Split
from glassbox.explainers.base import Setup
from glassbox.provenance.resume import Keep, unkept
from glassbox.scoring import mask_gate, planted_gate


def check(setup: Setup, test: Split, predicted: np.ndarray, n_classes: int, keep: Keep = unkept) -> dict[str, Any]:
    """Hold the model against planted evidence, or against masks that were not planted. `predicted` (N,) are the classes
    of the test split.

    Returns:
        `checks` and `refusal`, see `planted_gate`; where masks were not planted also `masks`, see `mask_gate.measure`.
    """
    checks = planted_gate.check(setup.classifier, test, setup.batch_size, keep)
    gate: dict[str, Any] = {"checks": [vars(one) for one in checks], "refusal": planted_gate.refusal(checks)}
    if mask_gate.applies(test):
        gate["masks"] = mask_gate.measure(setup, test, predicted, n_classes, keep)
    return gate


def sentences(gate: dict[str, Any]) -> list[str]:
    """What there is to say about it."""
    masks = [gate["masks"]["sentence"]] if "masks" in gate else []
    return masks + ([gate["refusal"]] if gate["refusal"] else [])
