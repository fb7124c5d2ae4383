"""What a trial draws from the search space."""

from typing import Any

import optuna

from glassbox.config.model import CONDITIONS, is_used
from glassbox.config.tune import Range, Space

ORDER = sorted(Space.model_fields, key=lambda name: name in CONDITIONS)  # conditions of others first


def draw(trial: optuna.Trial, space: Space, network: str) -> dict[str, Any]:
    """Draw a trial's parameters: slopes only with leaky_relu, learning rates only of the chosen optimizer. For other
    networks than the paper's only the optimizer's parameters.

    Args:
        trial: Optuna's trial.
        space: the section `tune.space`.
        network: `model.name`.

    Returns:
        Values under the paper's names.
    """
    params: dict[str, Any] = {}
    for name in ORDER:
        if not is_used(name, network, params):
            continue
        choice = getattr(space, name)
        if isinstance(choice, Range):
            params[name] = trial.suggest_float(name, choice.low, choice.high, log=choice.log)
        else:
            params[name] = trial.suggest_categorical(name, choice)
    return params
