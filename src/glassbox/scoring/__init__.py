"""What *score* does: every explainer and every baseline measured on the same images, tested and ranked. Imports
explainers, xai_metrics, statistics and what is below them.
"""
