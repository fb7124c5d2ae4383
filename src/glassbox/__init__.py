"""glassbox: train an image classifier and explain it, as one reproducible, comparable study."""
