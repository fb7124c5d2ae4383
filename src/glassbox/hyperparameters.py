"""Which value each hyperparameter takes, and where it came from: params.yaml before the search."""

from dataclasses import asdict, dataclass, fields
from typing import Any

from glassbox.config import CONDITIONS, IN_SPACE, TUNED, Model, Train, is_used
from glassbox.errors import UserError
from glassbox.models.cnn import Hyperparameters
from glassbox.training import OptimizerSettings

GIVEN = "params.yaml"
UNUSED = "not used"


@dataclass(frozen=True)
class Choice:
    """One hyperparameter: its key in params.yaml, its value (None = not used), and its origin."""

    key: str
    value: Any
    source: str


def network_of(trial: dict[str, Any], batch_norm_momentum: float) -> Hyperparameters:
    """The network of a trial's parameters, under the paper's names; a slope that was not drawn is None."""
    drawn = {field.name: trial.get(field.name) for field in fields(Hyperparameters)}
    return Hyperparameters(**drawn | {"batch_norm_momentum": batch_norm_momentum})


def optimizer_of(trial: dict[str, Any]) -> OptimizerSettings:
    """The optimizer of a trial's parameters, under the paper's names."""
    name = trial["optimizer"]
    return OptimizerSettings(name, trial[f"{name}_lr"], trial.get("sgd_momentum"), trial.get("rmsprop_rho"))


def resolve(
    model: Model, train: Train, best: dict[str, Any], trial: int | None
) -> tuple[Hyperparameters, OptimizerSettings, list[Choice]]:
    """Put together what params.yaml gives and what the search found.

    Args:
        model, train: sections of params.yaml; "tuned" stands for the search's value.
        best: the best trial's parameters under the paper's names; empty without a search.
        trial: its number, or None without a search.

    Returns:
        The network's and the optimizer's hyperparameters, and the origin of every one.

    Raises:
        UserError: a value that is needed is "tuned", but the search has none for it.
    """
    missing: list[str] = []
    choices: list[Choice] = []

    def choose(key: str, given: Any, found_as: str, needed: bool = True) -> Any:
        if not needed:
            choices.append(Choice(key, None, UNUSED))
        elif given != TUNED:
            choices.append(Choice(key, given, GIVEN))
        elif found_as in best:
            choices.append(Choice(key, best[found_as], f"tune, trial {trial}"))
        else:
            missing.append(key)
            choices.append(Choice(key, None, "missing"))
        return choices[-1].value

    network: dict[str, Any] = {}
    # The choices that others hang on come first.
    for name in sorted((field.name for field in fields(Hyperparameters)), key=lambda name: name in CONDITIONS):
        network[name] = choose(f"model.{name}", getattr(model, name), name, is_used(name, network))
    kind = choose("train.optimizer", train.optimizer, "optimizer")
    optimizer = OptimizerSettings(
        name=kind,
        learning_rate=choose("train.learning_rate", train.learning_rate, f"{kind}_lr"),
        **{
            name: choose(f"train.{name}", getattr(train, name), found_as, is_used(found_as, {"optimizer": kind}))
            for name, found_as in IN_SPACE.items()
        },
    )
    if missing:
        why = (
            "tune.n_trials is 0" if trial is None else f"the best trial ({trial}) has none to go with the values given"
        )
        raise UserError(f"params.yaml: {', '.join(missing)} must be given a value: 'tuned' stands there, but {why}")
    return Hyperparameters(**network), optimizer, choices


def table(choices: list[Choice]) -> list[dict[str, Any]]:
    """The choices as rows for a JSON file."""
    return [asdict(choice) for choice in choices]
