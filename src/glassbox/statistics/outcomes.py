"""The three outcomes of a test that compares two."""

OUTCOMES = BETTER, WORSE, UNDECIDED = "better", "worse", "undecided"
