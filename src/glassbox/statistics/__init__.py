"""Intervals and tests on arrays of numbers; nothing here knows of images or networks. Imports core."""
