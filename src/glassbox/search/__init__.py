"""The hyperparameter search. The only package that imports optuna."""
