"""Turns pydantic's errors into one sentence: the key, its value and what is allowed."""

import difflib
import math
import reprlib
from collections.abc import Iterable
from contextlib import suppress
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError, create_model
from pydantic.fields import FieldInfo

from glassbox.config.types import TUNED
from glassbox.core.errors import UserError, cut, masked

Model = TypeVar("Model", bound=BaseModel)

# pydantic names Python's types; a parameter file has lists and keys.
_ALLOWED = {
    "tuple_type": "a list",
    "model_type": "a section of keys",
    "dict_type": "a section of keys",
    "invalid-json-value": "a number, text, true, false, null, or a list or section of these",
    "finite_number": "a finite number",
    "string_type": "text",
    "string_unicode": "text",
    "string_too_short": "text that is not empty",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "float_type": "a number",
    "none_required": "null",
}
_NO_TEXT = ("string_type", "string_unicode")


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
    if problem["loc"][-1:] == ("[key]",):  # of a section whose keys are free
        kind = "text" if problem["type"] in _NO_TEXT else "of letters, digits and _, and at most 64 of these"
        return f"{dotted([*first[:-1], problem['input']])} is not a parameter: every key must be {kind}"
    if problem["type"] == "missing":
        return f"{key}.{problem['loc'][-1]} is missing" if key else f"the section {problem['loc'][-1]} is missing"
    if problem["type"] == "extra_forbidden":
        siblings = _keys_at(first[:-1], model)
        return f"{key} is not a parameter; {nearest(first[-1], siblings)}allowed here: {', '.join(siblings)}"
    value = problem["input"]
    is_value = "" if isinstance(value, dict | BaseModel) else f" is {shown(value)}"
    if problem["type"] == "value_error":
        message = problem["msg"].removeprefix("Value error, ")
        return message if message.startswith(key) else f"{key}{is_value}: {message}"  # it may name its key itself
    field = _keys_at(first[:-1], model).get(first[-1])
    allowed = _either(same, field.description if field is not None else None)
    if field is not None and type(None) in get_args(field.annotation):
        allowed.append("null")
    return f"{key}{is_value or ' is a section of keys'}, but must be {' or '.join(allowed)}"


def nearest(name: Any, known: Iterable[str]) -> str:
    """A hint at the known name that is most like a wrong one; "" if none is."""
    close = difflib.get_close_matches(str(name)[:100], known, n=1)
    return f"did you mean {close[0]}? " if close else ""


def must_be(section: type[BaseModel], name: str, value: Any, besides: str = "") -> str | None:
    """What a key of a section must be, if it may not have this value; None if it may.

    Args:
        besides: a word that is not named, though it is allowed.
    """
    try:
        _alone(section, name).model_validate({name: value})
    except ValidationError as error:
        allowed = _either(error.errors(include_url=False), section.model_fields[name].description)
        return " or ".join(words for words in allowed if words != shown(besides))
    return None


@cache
def _alone(section: type[BaseModel], name: str) -> type[BaseModel]:
    field = section.model_fields[name]
    return create_model("Alone", __config__=section.model_config, **{name: (field.annotation, field)})


def _either(problems: Iterable[dict[str, Any]], described: str | None) -> list[str]:
    """What a value must be: one of these."""
    allowed = list(dict.fromkeys(_allowed(problem, described) for problem in problems))
    if described in allowed:
        return [words for words in allowed if words in (described, shown(TUNED))]
    return [words for words in allowed if words != "a whole number" or "a number" not in allowed]


def _allowed(problem: dict[str, Any], described: str | None) -> str:
    """What a value must be, in the words of its field if it has some."""
    kind = problem["type"]
    if described and kind not in _NO_TEXT and problem.get("ctx", {}).get("expected") != shown(TUNED):
        return described
    if kind == "too_short":
        least = problem["ctx"]["min_length"]
        return f"a list of at least {'one value' if least == 1 else f'{least} values'}"
    return _ALLOWED.get(kind) or problem["msg"].removeprefix("Input should be ")


def _locate(location: tuple[Any, ...], tree: Any) -> tuple[tuple[Any, ...], Any]:
    """The part of a pydantic location that exists in the file, without pydantic's tags for the members of a union, and
    the value there. A dotted key of the location may be nested in the file."""
    path: list[Any] = []
    for part in location:
        try:
            tree = _inside(tree, part)
        except LookupError:  # a tag
            continue
        path.append(part)
    return tuple(path), tree


def _inside(tree: Any, part: Any) -> Any:
    if isinstance(tree, list) and isinstance(part, int):
        return tree[part]
    if not isinstance(tree, dict):
        raise KeyError(part)
    if part in tree:
        return tree[part]
    for key, inner in tree.items():
        if isinstance(part, str) and isinstance(key, str) and part.startswith(f"{key}."):
            with suppress(LookupError):
                return _inside(inner, part.removeprefix(f"{key}."))
    raise KeyError(part)


def _keys_at(path: tuple[Any, ...], model: type[BaseModel]) -> dict[str, FieldInfo]:
    """The keys of the section there; those of the inner sections where the names of these are free."""
    section: Any = model
    for part in path:
        if part in getattr(section, "model_fields", {}):
            section = section.model_fields[part].annotation
        while get_args(section):  # an optional section, `Planted | None`, or free names, `dict[str, Option]`
            section = get_args(section)[-1 if get_origin(section) is dict else 0]
    return getattr(section, "model_fields", {})


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
