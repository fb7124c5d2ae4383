"""Test scores and calibration of a classifier. Imports models, statistics and what is below them."""
