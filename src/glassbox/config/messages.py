"""How a refusal by pydantic becomes one sentence: the key, its value and what is allowed."""

import difflib
import math
import reprlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from glassbox.core.errors import UserError, cut, masked

Model = TypeVar("Model", bound=BaseModel)

# pydantic speaks of Python's types; a parameter file has lists and keys.
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
    """The sections that a model takes from the plain values of a parameter file.

    Args:
        model: has a field for each section.
        tree: of the file.
        file: is named in messages.

    Raises:
        UserError: it holds a wrong, missing or unknown key.
    """
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        raise UserError(f"{file}: {_sentence(error, tree, model)}") from None


def _sentence(error: ValidationError, tree: dict[str, Any], model: type[BaseModel]) -> str:
    """One sentence for the first wrong key: its path, its value and what is allowed."""
    problems = error.errors(include_url=False)
    first, _ = _locate(problems[0]["loc"], tree)
    # A key that takes a number or a word yields one problem for each: they belong together.
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
    given = "" if isinstance(value, dict | BaseModel) else f" is {shown(value)}"
    if problem["type"] == "value_error":
        message = problem["msg"].removeprefix("Value error, ")
        return f"{key}{given}: {message}" if key else message  # between sections it names the keys itself
    field = _section_at(first[:-1], model).model_fields.get(first[-1]) if isinstance(first[-1], str) else None
    described = field.description if field is not None else None
    allowed = list(dict.fromkeys(_allowed(p, described) for p in same))
    if field is not None and type(None) in get_args(field.annotation):
        allowed.append("null")
    return f"{key}{given or ' is a section of keys'}, but must be {' or '.join(allowed)}"


def _allowed(problem: dict[str, Any], described: str | None) -> str:
    """What must stand there; of text of some form, and of a number of two kinds, in the words of its field."""
    kind = problem["type"]
    if described and kind not in ("string_type", "string_unicode"):
        return described
    if kind == "too_short":
        least = problem["ctx"]["min_length"]
        return f"a list of at least {'one value' if least == 1 else f'{least} values'}"
    return _ALLOWED.get(kind) or problem["msg"].removeprefix("Input should be ")


def _locate(location: tuple[Any, ...], tree: Any) -> tuple[tuple[Any, ...], Any]:
    """The part of a pydantic location that exists in the file, without pydantic's own tags for the members of a
    union, and the value there."""
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
        if get_args(section):  # one that may be left out: `Planted | None`
            section = get_args(section)[0]
    return section


class _Short(reprlib.Repr):
    """`repr` that ends: of a value that holds itself, or a billion others, or a number of a million digits; null, true
    and false as YAML writes them. Passwords in addresses are not told."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.fillvalue = 3, "…"
        self.maxlist = self.maxtuple = self.maxset = self.maxdict = 10
        self.maxstring = self.maxother = 200

    def repr_str(self, value: str, level: int) -> str:
        return super().repr_str(masked(value), level)

    def repr_NoneType(self, value: None, level: int) -> str:  # noqa: ARG002 (the name that reprlib looks for)
        return "null"

    def repr_bool(self, value: bool, level: int) -> str:  # noqa: ARG002
        return "true" if value else "false"

    def repr_float(self, value: float, level: int) -> str:  # noqa: ARG002
        return repr(value) if math.isfinite(value) else repr(value).replace("inf", ".inf").replace("nan", ".nan")

    def repr_int(self, value: int, level: int) -> str:  # noqa: ARG002
        return repr(value) if value.bit_length() < 1000 else f"a number of {value.bit_length()} bits"


def shown(value: Any) -> str:
    """A value in a sentence: on one line, and the middle left out of what is long."""
    return cut(_Short().repr(value))


def dotted(path: Iterable[Any]) -> str:
    """Keys as a sentence names them."""
    parts = [str(part) for part in path]
    return ".".join(part if part and part.isprintable() and len(part) <= 100 else shown(part) for part in parts)
