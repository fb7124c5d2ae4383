"""Networks by name, and the classifier around them."""

from glassbox.models.building import (
    build,
    check,
    check_data,
    contradictions,
    digest_of_weights,
    fresh,
    made_for,
    preprocessing,
)
from glassbox.models.card import Card
from glassbox.models.classifier import Classifier, predict, probabilities
from glassbox.models.layers import device_of, evaluating, frozen
from glassbox.models.saving import describe, load, rebuilt, save, untrained

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
