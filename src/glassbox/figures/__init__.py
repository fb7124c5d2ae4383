"""Figures as PNG files (matplotlib)."""
