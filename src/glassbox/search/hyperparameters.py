"""The value of each hyperparameter and its origin: params.yaml takes precedence over the search."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from glassbox.config.model import CNN_KEYS, CONDITIONS, IN_SPACE, Model, is_used, network_keys
from glassbox.config.train import Train
from glassbox.config.types import TUNED
from glassbox.core.errors import UserError
from glassbox.models import Spec
from glassbox.training.optimizers import OptimizerSettings

GIVEN = "params.yaml"
UNUSED = "not used"


@dataclass(frozen=True)
class Choice:
    """One hyperparameter: its key in params.yaml, its value (None = not used), and its origin."""

    key: str
    value: Any
    source: str


def unsearched(name: str, normalization: str, input_size: int | None, **values: Any) -> Spec:
    """The part of a network that is not searched.

    Args:
        name, normalization, input_size: as in the section `model`.
        values: other keys of that section; those that this network does not use are left out.
    """
    used = {key: values[key] for key in network_keys(name) if key not in CNN_KEYS}
    return Spec(name, used, normalization, input_size)


def network_of(trial: Mapping[str, Any], known: Spec) -> Spec:
    """The network of a trial.

    Args:
        trial: its parameters under the paper's names; one that was not drawn, like the slope of a relu, becomes None.
        known: the part that is not searched.
    """
    drawn = {key: trial.get(key) for key in network_keys(known.name) if key in CNN_KEYS}
    return replace(known, hyperparameters=drawn | known.hyperparameters)


def optimizer_of(trial: dict[str, Any]) -> OptimizerSettings:
    """The optimizer of a trial's parameters, under the paper's names."""
    name = trial["optimizer"]
    return OptimizerSettings(name, trial[f"{name}_lr"], trial.get("sgd_momentum"), trial.get("rmsprop_rho"))


def resolve(
    model: Model, train: Train, best: dict[str, Any], trial: int | None
) -> tuple[Spec, OptimizerSettings, list[Choice]]:
    """Combine the values of params.yaml with those that the search found.

    Args:
        model, train: sections of params.yaml; "tuned" stands for the search's value.
        best: the best trial's parameters under the paper's names; empty without a search.
        trial: its number, or None without a search.

    Returns:
        The network, the optimizer's hyperparameters, and the origin of each of both.

    Raises:
        UserError: a value that is needed is "tuned", but the search has not drawn it.
    """
    missing: list[str] = []
    choices: list[Choice] = []

    def choose(key: str, value: Any, name: str, needed: bool = True) -> Any:
        if not needed:
            choices.append(Choice(key, None, UNUSED))
        elif value != TUNED:
            choices.append(Choice(key, value, GIVEN))
        elif name in best:
            choices.append(Choice(key, best[name], f"tune, trial {trial}"))
        else:
            missing.append(key)
            choices.append(Choice(key, None, "missing"))
        return choices[-1].value

    network: dict[str, Any] = {}
    # Those that others depend on come first.
    for name in sorted(network_keys(model.name), key=lambda name: name in CONDITIONS):
        network[name] = choose(f"model.{name}", getattr(model, name), name, is_used(name, model.name, network))
    kind = choose("train.optimizer", train.optimizer, "optimizer")
    values = {"learning_rate": choose("train.learning_rate", train.learning_rate, f"{kind}_lr")}
    for key, name in IN_SPACE.items():
        values[key] = choose(f"train.{key}", getattr(train, key), name, is_used(name, model.name, {"optimizer": kind}))
    if missing:
        reason = f"the best trial ({trial}) has no value that fits those given"
        if trial is None:
            reason = "tune.n_trials is 0"
        raise UserError(f"params.yaml: {', '.join(missing)} must be given a value: 'tuned' stands there, but {reason}")
    spec = Spec(model.name, network, model.normalization, model.input_size)
    return spec, OptimizerSettings(name=kind, **values), choices


def table(choices: list[Choice]) -> list[dict[str, Any]]:
    """The choices as rows for a JSON file."""
    return [asdict(choice) for choice in choices]
