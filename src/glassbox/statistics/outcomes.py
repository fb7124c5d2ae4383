"""What a test that compares two can come to."""

OUTCOMES = BETTER, WORSE, UNDECIDED = "better", "worse", "undecided"
