"""How well a classifier does on test images, and how well it knows it. Imports models, statistics and what is below
them.
"""
