"""Measurements, one file a subject: `make bench`, or `python -m benchmarks training` for one of them.

Every subject compares two ways A and B, interleaved in one run on the same inputs, at least five pairs, after checking
that both compute the same thing. A machine's speed drifts, so trust the ratios of medians, not the seconds.
"""
