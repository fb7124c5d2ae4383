"""Turns pydantic's errors into one sentence: the key, its value and what is allowed."""

import difflib
import math
import reprlib
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from glassbox.core.errors import UserError, cut, masked

Model = TypeVar("Model", bound=BaseModel)

# pydantic names Python's types; a parameter file has lists and keys.
_ALLOWED = {
    "tuple_type": "a list",
    "model_type": "a section of keys",
    "finite_number": "a finite number",
    "string_type": "text",
    "string_unicode": "text",
    "string_too_short": "text that is not empty",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "float_type": "a number",
    "none_required": "null",
}


def checked(model: type[Model], tree: dict[str, Any], file: str | Path) -> Model:
    """A model, with a field for each section, of the values in `file`; UserError for wrong, missing or unknown keys."""
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        raise UserError(f"{file}: {_sentence(error, tree, model)}") from None


def _sentence(error: ValidationError, tree: dict[str, Any], model: type[BaseModel]) -> str:
    """The sentence for the first wrong key."""
    problems = error.errors(include_url=False)
    first, _ = _locate(problems[0]["loc"], tree)
    # A key that takes a number or a word has one problem for each.
    same = [problem for problem in problems if _locate(problem["loc"], tree)[0] == first]
    problem, key = same[0], dotted(first)
    if problem["type"] == "string_unicode" and isinstance(_locate(first, tree)[1], dict):  # half a surrogate pair
        return f"{dotted([*first, problem['input']])} is not a parameter: every key must be text"
    if problem["type"] == "invalid_key":
        return f"{dotted(problem['loc'])} is not a parameter: every key must be text"
    if problem["type"] == "missing":
        return f"{key}.{problem['loc'][-1]} is missing" if key else f"the section {problem['loc'][-1]} is missing"
    if problem["type"] == "extra_forbidden":
        siblings = list(_section_at(first[:-1], model).model_fields)
        close = difflib.get_close_matches(str(first[-1])[:100], siblings, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        return f"{key} is not a parameter; {hint}allowed here: {', '.join(siblings)}"
    value = problem["input"]
    is_value = "" if isinstance(value, dict | BaseModel) else f" is {shown(value)}"
    if problem["type"] == "value_error":
        message = problem["msg"].removeprefix("Value error, ")
        return f"{key}{is_value}: {message}" if key else message  # a rule names the keys itself
    field = _section_at(first[:-1], model).model_fields.get(first[-1]) if isinstance(first[-1], str) else None
    described = field.description if field is not None else None
    allowed = list(dict.fromkeys(_allowed(p, described) for p in same))
    if field is not None and type(None) in get_args(field.annotation):
        allowed.append("null")
    return f"{key}{is_value or ' is a section of keys'}, but must be {' or '.join(allowed)}"


def _allowed(problem: dict[str, Any], described: str | None) -> str:
    """What a value must be, in the words of its field if it has some."""
    kind = problem["type"]
    if described and kind not in ("string_type", "string_unicode"):
        return described
    if kind == "too_short":
        least = problem["ctx"]["min_length"]
        return f"a list of at least {'one value' if least == 1 else f'{least} values'}"
    return _ALLOWED.get(kind) or problem["msg"].removeprefix("Input should be ")


def _locate(location: tuple[Any, ...], tree: Any) -> tuple[tuple[Any, ...], Any]:
    """The part of a pydantic location that exists in the file, without pydantic's tags for the members of a union, and
    the value there."""
    path: list[Any] = []
    for part in location:
        known = part in tree if isinstance(tree, dict) else isinstance(tree, list) and isinstance(part, int)
        if not known:
            break
        tree = tree[part]
        path.append(part)
    return tuple(path), tree


def _section_at(path: tuple[Any, ...], model: type[BaseModel]) -> type[BaseModel]:
    section: Any = model
    for part in path:
        section = section.model_fields[part].annotation
        if get_args(section):  # an optional one: `Planted | None`
            section = get_args(section)[0]
    return section


class _Short(reprlib.Repr):
    """A `repr` of bounded length, even for a value that holds itself or a billion others. Scalars as in YAML, without
    passwords in addresses."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.fillvalue = 3, "…"
        self.maxlist = self.maxtuple = self.maxset = self.maxdict = 10
        self.maxstring = self.maxother = 200

    def repr1(self, x: Any, level: int) -> str:
        match x:
            case None:
                return "null"
            case bool():
                return str(x).lower()
            case int() if x.bit_length() > 1000:
                return f"a number of {x.bit_length()} bits"
            case float() if not math.isfinite(x):
                return str(x).replace("inf", ".inf").replace("nan", ".nan")
            case str():
                return super().repr1(masked(x), level)
            case date():
                return x.isoformat()
        return super().repr1(x, level)


def shown(value: Any) -> str:
    """A value for a sentence: on one line, a long one without its middle."""
    return cut(_Short().repr(value))


def dotted(path: Iterable[Any]) -> str:
    """Keys for a sentence."""
    parts = [str(part) for part in path]
    return ".".join(part if part and part.isprintable() and len(part) <= 100 else shown(part) for part in parts)
