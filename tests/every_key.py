"""Every key of the parameter file with its JSON schema, which says what fits without the code that is tested; values
that do and do not, and the sentences with which they are refused.
"""

import math
import re
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from conftest import ROOT
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from glassbox.config import parameters, yaml_file
from glassbox.config.parameters import Params
from glassbox.core.errors import UserError

SCHEMA = Params.model_json_schema()
few = settings(max_examples=10, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
Path_ = tuple[str, ...]


@cache
def complete(study: str) -> dict:
    return YAML(typ="safe", pure=True).load((ROOT / "studies" / f"{study}.yaml").read_text())


def base(path: Path_) -> dict:
    """A right file that has this key."""
    return complete("planted" if path[:2] == ("data", "planted") else "digits")


def alternatives(schema: dict) -> list[dict]:
    """What a value may be, references followed."""
    if "$ref" in schema:
        return [SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]]]
    return [one for member in schema["anyOf"] for one in alternatives(member)] if "anyOf" in schema else [schema]


def walk(schema: dict = SCHEMA, path: Path_ = ()) -> dict[Path_, dict]:
    """Every key at every level, with its schema; sections, too."""
    found = {}
    for name, own in schema["properties"].items():
        found[(*path, name)] = own
        for section in alternatives(own):
            if section.get("type") == "object":
                found |= walk(section, (*path, name))
    return found


EVERY = walk()
SECTIONS = {path: own for path, own in EVERY.items() if any(a.get("type") == "object" for a in alternatives(own))}
LEAVES = {path: own for path, own in EVERY.items() if path not in SECTIONS}


def within(value: float, schema: dict) -> bool:
    return (
        schema.get("minimum", -math.inf) <= value <= schema.get("maximum", math.inf)
        and schema.get("exclusiveMinimum", -math.inf) < value < schema.get("exclusiveMaximum", math.inf)
    )  # fmt: skip


def fits(value: Any, schema: dict) -> bool:
    """Whether a value of YAML is what the schema asks for."""
    for one in alternatives(schema):
        kind = one.get("type")
        if "enum" in one or "const" in one:
            good = isinstance(value, str) and value in one.get("enum", [one.get("const")])
        elif kind == "integer":
            good = type(value) is int and within(value, one)
        elif kind == "number":
            good = type(value) in (int, float) and abs(value) < math.inf and within(value, one)
        elif kind == "string":
            whole = re.fullmatch(one.get("pattern", r"[^\ud800-\udfff]*"), value) if isinstance(value, str) else None
            good = whole and one.get("minLength", 0) <= len(value) <= one.get("maxLength", math.inf)
        elif kind == "array":
            good = isinstance(value, list) and len(value) >= one.get("minItems", 0)
            good = good and all(fits(item, one["items"]) for item in value)
        else:
            good = {"boolean": bool, "null": type(None), "object": dict}[kind] is type(value)
        if good:
            return True
    return False


ANY_TEXT = st.text(st.characters(), max_size=20) | st.sampled_from(
    ["", " ", "\0", "\ud800", "a\u2028b", "\u202e", "x" * 10_000]
)
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.integers(2**31, 2**70) | st.floats() | ANY_TEXT
    | st.binary(max_size=9) | st.dates() | st.sampled_from([10**400, float("nan"), float("-inf"), 1e308])
)  # fmt: skip
ANYTHING = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=3), max_leaves=6
)


def near(schema: dict) -> list[Any]:
    """Values just outside of the bounds, and right ones in a wrong wrapping."""
    found: list[Any] = []
    for one in alternatives(schema):
        step = 1 if one.get("type") == "integer" else 1e-9
        found += [one[name] for name in ("exclusiveMinimum", "exclusiveMaximum") if name in one]
        found += [one["minimum"] - step] if "minimum" in one else []
        found += [one["maximum"] + step] if "maximum" in one else []
        found += [name.upper() for name in one.get("enum", [])] + [[name] for name in one.get("enum", [])]
        found += [[], {"nonsense": 1}] + ([[outside] * 3 for outside in near(one["items"])] if "items" in one else [])
    return found


def wrong(schema: dict) -> st.SearchStrategy:
    is_section = any(one.get("type") == "object" for one in alternatives(schema))
    values = (st.sampled_from(near(schema)) | ANYTHING).filter(lambda value: not fits(value, schema))
    return values.filter(lambda value: not isinstance(value, dict)) if is_section else values


def right(schema: dict) -> st.SearchStrategy:
    def of(one: dict) -> st.SearchStrategy:
        low, high = one.get("minimum", one.get("exclusiveMinimum")), one.get("maximum", one.get("exclusiveMaximum"))
        kind = one.get("type")
        if "enum" in one or "const" in one:
            return st.sampled_from(one.get("enum", [one.get("const")]))
        if kind in ("integer", "number"):
            return (st.integers if kind == "integer" else st.floats)(low, high).filter(lambda value: within(value, one))
        if kind == "string":
            made = st.from_regex(one["pattern"], fullmatch=True) if "pattern" in one else st.text()
            return made.filter(lambda value: fits(value, one))
        if kind == "array":
            return st.lists(of(one["items"]), min_size=one.get("minItems", 0), max_size=5)
        return st.booleans() if kind == "boolean" else st.none()

    return st.one_of([of(one) for one in alternatives(schema)])


def with_value(tree: Any, path: Path_, value: Any) -> Any:
    """A copy of the tree with another value at a key; without the key, where the value is `...`."""
    name, *rest = path
    if value is ... and not rest:
        return {key: inner for key, inner in tree.items() if key != name}
    return {**tree, name: with_value(tree[name], tuple(rest), value) if rest else value}


def sentence_for(tree: Any) -> str:
    """That with which a tree is refused."""
    with mock.patch.object(yaml_file, "read", return_value=tree), pytest.raises(UserError) as refused:
        parameters.read("params.yaml")
    sentence = str(refused.value)
    assert sentence.startswith("params.yaml")
    assert sentence.isprintable()
    assert len(sentence) < 1000
    return sentence.removeprefix("params.yaml: ")


def refusal(key: str, value: Any, folder: Path) -> str:
    """The sentence with which the file of the default study with one wrong value is refused; without the key, where the
    value is `...`."""
    file = folder / "params.yaml"
    YAML(typ="safe").dump(with_value(complete("digits"), tuple(key.split(".")), value), file)
    with pytest.raises(UserError) as error:
        parameters.read(file)
    assert str(error.value).startswith(f"{file}: ")
    assert "\n" not in str(error.value)
    return str(error.value).removeprefix(f"{file}: ")
