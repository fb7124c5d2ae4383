"""Networks by name, and the classifier around them."""

from glassbox.models.classifier import Card, Classifier, build, describe, load, normalization, predict, save
from glassbox.models.layers import evaluating

__all__ = ["Card", "Classifier", "build", "describe", "evaluating", "load", "normalization", "predict", "save"]
