"""How much each hyperparameter matters to the measure of the trials, and how much seems to matter by chance."""

import numpy as np
import optuna
from optuna.trial import FrozenTrial

from glassbox.search.outcome import Importances

ENOUGH = 10  # complete trials
SHUFFLES = 100


def of_trials(complete: list[FrozenTrial], direction: str, seed: int) -> Importances | None:
    """Shares of the hyperparameters by PED-ANOVA (Watanabe et al. 2023), and the share that by chance no hyperparameter
    exceeds in 95 of 100 searches: the measures are shuffled among the trials, and the largest share is taken each time.

    Args:
        complete: trials with the same hyperparameters; those that some of them lack, or that all have in common, are
            left out.
        direction: "minimize" or "maximize", what is done with the measure.
        seed: with which the measures are shuffled.

    Returns:
        None from fewer than `ENOUGH` trials, or if all have the same measure.
    """
    values = np.array([trial.values[0] for trial in complete])
    if len(complete) < ENOUGH or len(set(values)) < 2:
        return None
    shared = sorted(set.intersection(*(set(trial.params) for trial in complete)))
    varied = [name for name in shared if len({trial.params[name] for trial in complete}) > 1]

    def shares(values: np.ndarray) -> dict[str, float]:
        study = optuna.create_study(direction=direction)
        for trial, value in zip(complete, values.tolist(), strict=True):
            study.add_trial(
                optuna.trial.create_trial(value=value, params=trial.params, distributions=trial.distributions)
            )
        evaluator = optuna.importance.PedAnovaImportanceEvaluator()
        return optuna.importance.get_param_importances(study, evaluator=evaluator, params=varied)

    rng = np.random.default_rng(seed)
    largest = [max(shares(rng.permutation(values)).values()) for _ in range(SHUFFLES)]
    return Importances(shares(values), float(np.quantile(largest, 0.95)), len(complete))
