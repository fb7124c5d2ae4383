"""Networks by name, and the classifier around them."""

from glassbox.models.classifier import Card, Classifier, build, describe, fresh, load, normalization, predict, save
from glassbox.models.layers import evaluating

__all__ = ["Card", "Classifier", "build", "describe", "evaluating", "fresh", "load", "normalization", "predict", "save"]
