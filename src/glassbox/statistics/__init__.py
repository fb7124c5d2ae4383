"""Confidence intervals and tests on arrays of numbers; nothing here depends on images or networks. Imports core."""
