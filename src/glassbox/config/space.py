"""The search space `tune.space`: for each parameter that is searched, how it is drawn, and when."""

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, model_validator

from glassbox.config.messages import dotted, shown
from glassbox.config.section import Section
from glassbox.config.types import list_of

SEARCHED = ("model", "train", "augment")  # sections
ARGUMENTS = "model.arguments"  # whose keys are parameters as well
PLACE = "tune.space"
Scalar = bool | int | float | str | None
Number = Annotated[int | float | None, Field(description="a finite number")]
NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class Option(Section):
    """One way to draw a parameter: from `choices`, or from [low, high], on a log scale if `log`; whole numbers if both
    ends are. It is taken if the parameters in `when` have these values."""

    choices: list_of(Scalar) | None = None
    low: Number = None
    high: Number = None
    log: bool = False
    when: dict[str, Scalar | list_of(Scalar)] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _a_list_or_a_range(self) -> "Option":
        if (self.low is None) != (self.high is None) or (self.low is None) == (self.choices is None):
            raise ValueError("it must have either choices, or low and high")
        if self.choices is not None:
            if len(set(map(repr, self.choices))) < len(self.choices):
                raise ValueError(f"the choices {shown(list(self.choices))} must not name one twice")
            if self.log:
                raise ValueError("log is true, but with choices it must be false: it is for a range")
            return self
        if self.low > self.high:
            raise ValueError(f"low ({shown(self.low)}) must not be above high ({shown(self.high)})")
        if self.log and self.low <= 0:
            raise ValueError(f"low ({shown(self.low)}) must be above 0 on a log scale")
        return self

    @property
    def is_whole(self) -> bool:
        """Whether it is a range of whole numbers."""
        return type(self.low) is type(self.high) is int

    def values(self) -> tuple[Scalar, ...]:
        """Its choices, or the ends of its range."""
        return self.choices if self.choices is not None else (self.low, self.high)

    def holds(self, chosen: Mapping[str, Any]) -> bool:
        """See `holds`."""
        return holds(self.when, chosen)


def holds(when: Mapping[str, Any], chosen: Mapping[str, Any]) -> bool:
    """Whether the parameters of a condition have one of the wanted values, given the value of each."""
    return all(
        chosen.get(key) in (wanted if isinstance(wanted, list | tuple) else (wanted,)) for key, wanted in when.items()
    )


@dataclass(frozen=True)
class Searched:
    """An option of a parameter."""

    key: str  # of the parameter, like "train.learning_rate"
    label: str  # unique in the space: the end of the key, or the option's own name
    option: Option


def parsed(space: Any) -> dict[str, dict[str, Any]]:
    """The space as it stands in the file, by parameter and name of the option ("" if there is one alone).

    A parameter's key may be dotted, or nested as in the file's sections; its options are a list of choices, one option,
    or options by name.

    Raises:
        ValueError: it is laid out in another way.
    """
    found: dict[str, dict[str, Any]] = {}
    for key, value in _parameters(space, ""):
        if key in found:
            raise ValueError(f"{_place(key)} is there twice, dotted and nested")
        if isinstance(value, list | tuple):
            found[key] = {"": {"choices": value}}
        elif isinstance(value, dict) and value and not value.keys() - Option.model_fields.keys():
            found[key] = {"": value}
        elif isinstance(value, dict) and value and all(isinstance(option, dict | list) for option in value.values()):
            for name in value:
                if not isinstance(name, str) or not NAME.fullmatch(name) or name in Option.model_fields:
                    raise ValueError(
                        f"{_place(key, name)} is no name of an option: it must be of letters, digits, . _ -, at most "
                        f"64, and not {', '.join(Option.model_fields)}"
                    )
            found[key] = {
                name: option if isinstance(option, dict) else {"choices": option} for name, option in value.items()
            }
        else:
            raise ValueError(
                f"{_place(key)} is {shown(value)}, but must be a list of values, a range like {{low: 0.1, high: 0.5, "
                "log: false}, or several of these by name, each with the condition under which it is drawn (when)"
            )
    return found


def as_in_the_file(space: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> dict[str, Any]:
    """The reverse of `parsed`, with dotted keys."""
    plain = {
        key: {name: option["choices"] if option.keys() == {"choices"} else option for name, option in options.items()}
        for key, options in space.items()
    }
    return {key: options.get("", options) for key, options in plain.items()}


def _place(*path: Any) -> str:
    """A key of the space for a sentence."""
    return dotted([PLACE, *path])


def _parameters(tree: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    if tree is None:
        return
    if not isinstance(tree, dict):
        place = _place(prefix[:-1]) if prefix else PLACE
        raise ValueError(f"{place} is {shown(tree)}, but must be a section of keys")
    for name, value in tree.items():
        if not isinstance(name, str):
            raise ValueError(f"{_place(f'{prefix}{name}')} is not a parameter: every key must be text")
        key = f"{prefix}{name}"
        if key in SEARCHED or key == ARGUMENTS:
            yield from _parameters(value, f"{key}.")
        elif key.partition(".")[0] not in SEARCHED or not key.partition(".")[2]:
            raise ValueError(
                f"{_place(key)} is not a parameter that can be searched; allowed here: those of {', '.join(SEARCHED)}, "
                f"like train.learning_rate or {ARGUMENTS}.NAME"
            )
        else:
            yield key, value


def labelled(space: Mapping[str, Mapping[str, Option]]) -> list[Searched]:
    """All options in the file's order, with their labels.

    Raises:
        ValueError: two labels are the same.
    """
    options = [
        Searched(key, name or _shortest(key, space), option)
        for key, named in space.items()
        for name, option in named.items()
    ]
    labels = [option.label for option in options]
    if twice := next((label for label in labels if labels.count(label) > 1), None):
        raise ValueError(f"{PLACE}: {twice} names two options; give one of them another name")
    return options


def _shortest(key: str, keys: Mapping[str, Any]) -> str:
    """The shortest end of a key that no other key has."""
    parts = key.split(".")
    ends = [".".join(parts[n:]) for n in range(len(parts) - 1, -1, -1)]
    return next(end for end in ends if sum(f".{other}".endswith(f".{end}") for other in keys) == 1)


def in_order(options: list[Searched]) -> list[Searched]:
    """The options in an order in which each comes after those that its condition names; otherwise as in the file.

    Raises:
        ValueError: conditions go in a circle.
    """
    ordered: list[Searched] = []
    waiting = list(options)
    while waiting:
        open_keys = {option.key for option in waiting}
        ready = [option for option in waiting if not open_keys & option.option.when.keys()]
        if not ready:
            circle = ", ".join(
                _circle({option.key: sorted(open_keys & option.option.when.keys()) for option in waiting})
            )
            raise ValueError(f"{PLACE}: the conditions (when) of {circle} must not go in a circle")
        ordered += ready
        waiting = [option for option in waiting if option not in ready]
    return ordered


def _circle(parents: Mapping[str, list[str]]) -> list[str]:
    """The keys of one circle, if each key has a parent."""
    path, key = [], min(parents)
    while key not in path:
        path.append(key)
        key = parents[key][0]
    return sorted(path[path.index(key) :])


def not_covered(key: str, space: Mapping[str, Mapping[str, Option]], given: Mapping[str, Any]) -> str:
    """Values of the parameters that the options of `key` depend on for which no option holds, in words; "" if one
    always does, or if that depends on a range.

    Args:
        given: the values of the parameter file, by key.
    """
    options = space[key].values()
    depends = sorted({parent for option in options for parent in option.when})
    possible: list[tuple[Any, ...]] = []
    for parent in depends:
        ways = list(space.get(parent, {}).values())
        if any(way.choices is None for way in ways):
            return ""
        possible.append(tuple(value for way in ways for value in way.values()) if ways else (given[parent],))
    for values in itertools.product(*possible):
        chosen = dict(zip(depends, values, strict=True))
        if not any(option.holds(chosen) for option in options):
            return ", ".join(f"{parent} = {value}" for parent, value in chosen.items())
    return ""
