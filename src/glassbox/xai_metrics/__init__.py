"""Metrics of explanations, one file a family. Imports explainers, models and what is below them."""
