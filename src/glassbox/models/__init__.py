"""Networks by name, and the classifier around them."""

from glassbox.models.building import (
    build,
    check,
    check_data,
    contradictions,
    describe,
    digest_of_weights,
    fresh,
    load,
    made_for,
    preprocessing,
    rebuilt,
    save,
    untrained,
)
from glassbox.models.card import Card
from glassbox.models.classifier import Classifier, predict, probabilities
from glassbox.models.layers import device_of, evaluating, frozen

__all__ = [
    "Card",
    "Classifier",
    "build",
    "check",
    "check_data",
    "contradictions",
    "describe",
    "device_of",
    "digest_of_weights",
    "evaluating",
    "fresh",
    "frozen",
    "load",
    "made_for",
    "predict",
    "preprocessing",
    "probabilities",
    "rebuilt",
    "save",
    "untrained",
]
