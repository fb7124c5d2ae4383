"""The training loop, its optimizers, and the same training on several processes. Imports models, execution and what is
below them.
"""
