"""Measurements, one file a subject: `make bench`, or `python -m benchmarks training` for one of them.

Every subject compares two ways A and B, interleaved in one run on the same inputs, at least five pairs; two ways to
compute something are first checked to give the same. A machine's speed drifts, so trust the ratios of medians, not the
seconds.
"""
