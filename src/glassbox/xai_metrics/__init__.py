"""Measures of explanations, one family a file."""
