"""The value of each hyperparameter and its origin: params.yaml takes precedence over the search."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from glassbox.config.augment import Augment
from glassbox.config.hyperparameters import Hyperparameters, not_taken
from glassbox.config.space import Option, Searched, holds, in_order, not_covered
from glassbox.config.train import Train
from glassbox.config.types import TUNED
from glassbox.core.errors import UserError

Kind = TypeVar("Kind", Train, Augment)
GIVEN = "params.yaml"
UNUSED = "not used"
SHOWN = ("train.optimizer", "train.learning_rate", "train.momentum", "train.rho")  # besides the network's own


@dataclass(frozen=True)
class Choice:
    """One hyperparameter: its key in params.yaml, its value (None = not used), and its origin."""

    key: str
    value: Any
    source: str


def to_search(known: Hyperparameters, space: Mapping[str, Mapping[str, Option]]) -> Hyperparameters:
    """The hyperparameters with `tuned` at the searched keys: a value that params.yaml has there is for *train* alone.
    Only a key that must have a value, and that some trial does not draw, keeps it, for those trials.

    Args:
        known: those of params.yaml.
        space: options by key and name.
    """
    given = known.by_key()
    free = [key for key in space if not_taken(key, None) is None or not not_covered(key, space, given)]
    return known.replaced(dict.fromkeys(free, TUNED), unused=set())


def of_trial(known: Hyperparameters, drawn: Mapping[str, Any]) -> Hyperparameters:
    """The hyperparameters of a trial: those drawn in place of others. A key at which `tuned` stands and that was not
    drawn, like the slope of a relu, is not used.

    Args:
        known: what `to_search` returns.
        drawn: values by key.

    Raises:
        UserError: the values are not allowed together.
    """
    return known.replaced(drawn, unused=set(known.tuned()) - drawn.keys())


def conditions(options: Iterable[Searched]) -> dict[str, list[dict[str, Any]]]:
    """The condition of each option of each parameter, by key, in the order of `space.draw`, for a JSON file."""
    found: dict[str, list[dict[str, Any]]] = {}
    for searched in in_order(list(options)):
        found.setdefault(searched.key, []).append(searched.option.model_dump(mode="json")["when"])
    return found


def resolve(known: Hyperparameters, best: Mapping[str, Any]) -> tuple[Hyperparameters, list[Choice]]:
    """Combine the values of params.yaml with those that the search found.

    Args:
        known: those of params.yaml; "tuned" stands for the search's value.
        best: the content of best.json: the number of the best `trial`, or None without a search; its `params` by key;
            and the `when` of each option of each searched key, see `conditions`.

    Returns:
        The hyperparameters, and the origin of those of the network and the optimizer and of all that were searched.

    Raises:
        UserError: a value that is needed is "tuned", but the search has not drawn it.
    """
    given, drawn = known.by_key(), best["params"]
    values = {key: value for key, value in given.items() if value != TUNED}
    waiting, unused, missing = known.tuned(), set(), []
    while waiting:
        key = next(
            k for k in waiting if not any(parent in waiting for when in best["when"].get(k, ()) for parent in when)
        )
        waiting.remove(key)
        options = best["when"].get(key, ({},))
        option = _first(options, values)
        if option is None:
            unused.add(key)
        elif key in drawn and option == _first(options, given | drawn):
            values[key] = drawn[key]
        else:
            missing.append(key)
    if missing:
        reason = f"the best trial ({best['trial']}) has no value that fits those given"
        if best["trial"] is None:
            reason = "tune.n_trials is 0"
        raise UserError(f"params.yaml: {', '.join(missing)} must be given a value: 'tuned' stands there, but {reason}")
    found = f"tune, trial {best['trial']}"
    choices = [
        Choice(key, values.get(key), UNUSED if values.get(key) is None else found if value == TUNED else GIVEN)
        for key, value in given.items()
        if key.startswith("model.") or (known.train.epochs != 0 and (value == TUNED or key in SHOWN))
    ]
    return known.replaced(values, unused), choices


def _first(options: Iterable[Mapping[str, Any]], values: Mapping[str, Any]) -> int | None:
    """Number of the first option whose condition holds."""
    return next((n for n, when in enumerate(options) if holds(when, values)), None)


def as_trained(section: Kind, choices: Iterable[Mapping[str, Any]]) -> Kind:
    """The section `train` or `augment` with the values that were found, of the rows of `table`."""
    name = type(section).__name__.lower()
    found = {row["key"].partition(".")[2]: row["value"] for row in choices if row["key"].startswith(f"{name}.")}
    return section.model_copy(update={key: found[key] for key, value in section if value == TUNED})


def table(choices: list[Choice]) -> list[dict[str, Any]]:
    """The choices as rows for a JSON file."""
    return [asdict(choice) for choice in choices]
