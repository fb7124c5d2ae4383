"""Figures as PNG files, by matplotlib. Imports explaining, scoring and what is below them."""
