"""Before explanations are scored against planted masks: does the model use what was planted?

A mask is the truth about a model only when the model uses what lies inside and nothing else; otherwise a faithful
explainer would get a low score. After the gate of Zhou et al. 2022, Do Feature Attribution Methods Correctly
Attribute Features?
"""

from dataclasses import dataclass

import scipy
import torch

from glassbox.data.store import Split
from glassbox.models import Classifier, probabilities
from glassbox.provenance.resume import Keep, unkept

ACCURACY, SWAPPED, MOVED = 0.99, 0.99, 0.01
NEEDED = ("removed", "swapped", "moved")  # keys of `Images.changed`
ALARM = 0.01  # chance of a false alarm when the accuracy without a glyph is that of guessing


@dataclass(frozen=True)
class Check:
    """One condition."""

    name: str
    value: float  # share of the test images
    limit: str  # allowed values, in words
    passed: bool


def applies(test: Split) -> bool:
    """Whether the split has masks and the three interventions `NEEDED`. Without them explainers are measured against
    the masks as they are."""
    return test.masks is not None and set(NEEDED) <= test.changed.keys()


def check(classifier: Classifier, test: Split, batch_size: int, keep: Keep = unkept) -> list[Check]:
    """Accuracy on the test images, then the effect of interventions whose effect on the label is known; no check where
    the gate does not apply. `keep` stores the model's answers as soon as they are there."""
    if not applies(test):
        return []

    def predicted(images: torch.Tensor) -> torch.Tensor:
        return probabilities(classifier, images, batch_size, keep=keep).argmax(dim=1)

    before, labels, n = predicted(test.images), test.labels.cpu(), len(test)
    after = {name: predicted(test.changed[name]) for name in NEEDED}
    accuracy = float((before == labels).double().mean())
    guessed = int((after["removed"] == labels).sum())
    chance = float(labels.bincount().max() / n)  # accuracy of the most frequent class
    p = scipy.stats.binomtest(guessed, n, chance, alternative="greater").pvalue
    swapped, moved = (float((after[name] != before).double().mean()) for name in ("swapped", "moved"))
    return [
        Check("accuracy", accuracy, f"at least {ACCURACY:g}", accuracy >= ACCURACY),
        Check("accuracy without the glyph", guessed / n, f"chance, {chance:.3g}", bool(p >= ALARM)),
        Check("predictions changed by another glyph", swapped, f"at least {SWAPPED:g}", swapped >= SWAPPED),
        Check("predictions changed by moving the distractor", moved, f"at most {MOVED:g}", moved <= MOVED),
    ]


def refusal(checks: list[Check]) -> str | None:
    """Why explainers are not scored, in one sentence; None when all conditions hold."""
    failed = [f"{c.name} is {c.value:.4g} and must be {c.limit}" for c in checks if not c.passed]
    if not failed:
        return None
    return f"Explainers are not scored, because the model does not use the glyph and it alone: {'; '.join(failed)}."
