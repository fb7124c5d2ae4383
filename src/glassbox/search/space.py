"""What a trial draws from the search space."""

from collections.abc import Mapping, Sequence
from typing import Any

import optuna

from glassbox.config.space import Searched


def draw(trial: optuna.Trial, options: Sequence[Searched], given: Mapping[str, Any]) -> dict[str, Any]:
    """Draw a trial's parameters: of those options of a key whose conditions hold the first.

    Args:
        trial: Optuna's trial.
        options: those of the space, each after those that it depends on.
        given: the values of params.yaml, which conditions may name as well.

    Returns:
        Values by key.
    """
    drawn: dict[str, Any] = {}
    for searched in options:
        option = searched.option
        if searched.key in drawn or not option.holds({**given, **drawn}):
            continue
        if option.choices is not None:
            value = trial.suggest_categorical(searched.label, option.choices)
        elif option.is_whole:
            value = trial.suggest_int(searched.label, option.low, option.high, log=option.log)
        else:
            value = trial.suggest_float(searched.label, option.low, option.high, log=option.log)
        drawn[searched.key] = value
    return drawn


def by_key(params: Mapping[str, Any], options: Sequence[Searched]) -> dict[str, Any]:
    """The parameters of a trial, which Optuna has by label, by key."""
    return {searched.key: params[searched.label] for searched in options if searched.label in params}
