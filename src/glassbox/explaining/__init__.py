"""What *explain* does: which images, their maps, and the analyses of them. Imports explainers, xai_metrics, evaluation
and what is below them.
"""
