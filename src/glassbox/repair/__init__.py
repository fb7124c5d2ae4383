"""Mends what an audit has found, and measures whether that helped more than further training."""
