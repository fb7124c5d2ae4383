"""Networks by name, and the classifier around them."""

from glassbox.models.classifier import (
    Card,
    Classifier,
    Spec,
    build,
    check,
    check_data,
    contradictions,
    describe,
    digest_of_weights,
    fresh,
    load,
    normalization,
    predict,
    probabilities,
    save,
)  # fmt: skip
from glassbox.models.layers import evaluating, frozen

__all__ = [
    "Card", "Classifier", "Spec", "build", "check", "check_data", "contradictions", "describe", "digest_of_weights",
    "evaluating", "fresh", "frozen", "load", "normalization", "predict", "probabilities", "save",
]  # fmt: skip
