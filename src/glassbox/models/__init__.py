"""Networks by name, and the classifier around them."""

from glassbox.models.classifier import Card, Classifier, build, describe, evaluating, load, normalization, predict, save

__all__ = ["Card", "Classifier", "build", "describe", "evaluating", "load", "normalization", "predict", "save"]
