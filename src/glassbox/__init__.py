"""glassbox: train an image classifier and explain it, as one reproducible, comparable study."""

__version__ = "0.1.0"
