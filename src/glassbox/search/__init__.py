"""The search of the hyperparameters. The only package that imports optuna; imports training and what is below it."""
