"""Every key of the parameter file with its JSON schema, which shows what fits independently of the tested code; values
that do and do not; and the sentences that refuse them.
"""

import math
import re
from functools import cache
from typing import Any
from unittest import mock

import pytest
from conftest import ROOT
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, validators
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
    """A valid file that has this key."""
    return complete("planted" if path[:2] == ("data", "planted") else "digits")


def alternatives(schema: dict) -> list[dict]:
    """What a value may be, references followed."""
    if "$ref" in schema:
        return [SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]]]
    return [option for member in schema["anyOf"] for option in alternatives(member)] if "anyOf" in schema else [schema]


FREE = {("model", "arguments"), ("tune", "space")}  # whose keys are the user's; they are tested by hand


def is_section(schema: dict) -> bool:
    return any(option.get("type") == "object" for option in alternatives(schema))


def walk(schema: dict = SCHEMA, path: Path_ = ()) -> dict[Path_, dict]:
    """Every key at every level, with its schema; sections, too."""
    keys = {}
    for name, inner in schema["properties"].items():
        if (*path, name) in FREE:
            continue
        keys[(*path, name)] = inner
        for option in alternatives(inner):
            if option.get("type") == "object":
                keys |= walk(option, (*path, name))
    return keys


EVERY = walk()
SECTIONS = {path: schema for path, schema in EVERY.items() if is_section(schema)}
LEAVES = {path: schema for path, schema in EVERY.items() if path not in SECTIONS}


TYPES = Draft202012Validator.TYPE_CHECKER.redefine_many(
    {
        "integer": lambda _, value: type(value) is int,
        "number": lambda _, value: type(value) in (int, float) and abs(value) < math.inf,
        "string": lambda _, value: isinstance(value, str) and not re.search("[\ud800-\udfff]", value),
    }
)
Strict = validators.extend(Draft202012Validator, type_checker=TYPES)


def fits(value: Any, schema: dict) -> bool:
    """Whether the schema allows a value."""
    return Strict({"$defs": SCHEMA["$defs"], **schema}).is_valid(value)


ODD_TEXTS = ["", " ", "\0", "\ud800", "a\u2028b", "\u202e", "x" * 10_000]
ODD_NUMBERS = [10**400, float("nan"), float("-inf"), 1e308]
ANY_TEXT = st.text(st.characters(), max_size=20) | st.sampled_from(ODD_TEXTS)
NUMBERS = st.integers() | st.integers(2**31, 2**70) | st.floats() | st.sampled_from(ODD_NUMBERS)
SCALARS = st.none() | st.booleans() | NUMBERS | ANY_TEXT | st.binary(max_size=9) | st.dates()
ANYTHING = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=3), max_leaves=6
)


def near(schema: dict) -> list[Any]:
    """Values just outside the bounds, and valid ones in a wrong container."""
    values: list[Any] = []
    for option in alternatives(schema):
        step = 1 if option.get("type") == "integer" else 1e-9
        values += [option[name] for name in ("exclusiveMinimum", "exclusiveMaximum") if name in option]
        values += [option[name] + sign * step for name, sign in (("minimum", -1), ("maximum", 1)) if name in option]
        values += [wrapped for name in option.get("enum", []) for wrapped in (name.upper(), [name])]
        values += [[], {"nonsense": 1}]
        values += [[outside] * 3 for outside in near(option["items"])] if "items" in option else []
    return values


def wrong(schema: dict) -> st.SearchStrategy:
    values = (st.sampled_from(near(schema)) | ANYTHING).filter(lambda value: not fits(value, schema))
    return values.filter(lambda value: not isinstance(value, dict)) if is_section(schema) else values


def right(schema: dict) -> st.SearchStrategy:
    return st.one_of([_right(option) for option in alternatives(schema)])


def _right(schema: dict) -> st.SearchStrategy:
    if "enum" in schema or "const" in schema:
        return st.sampled_from(schema.get("enum", [schema.get("const")]))
    match schema["type"]:
        case "integer" | "number":
            low = schema.get("minimum", schema.get("exclusiveMinimum"))
            high = schema.get("maximum", schema.get("exclusiveMaximum"))
            numbers = st.integers if schema["type"] == "integer" else st.floats
            return numbers(low, high).filter(lambda value: fits(value, schema))
        case "string":
            texts = st.from_regex(schema["pattern"], fullmatch=True) if "pattern" in schema else st.text()
            return texts.filter(lambda value: fits(value, schema))
        case "array" if "prefixItems" in schema:
            return st.tuples(*map(right, schema["prefixItems"])).map(list)
        case "array":
            return st.lists(right(schema["items"]), min_size=schema.get("minItems", 0), max_size=5)
    return st.booleans() if schema["type"] == "boolean" else st.none()


def with_value(tree: Any, path: Path_, value: Any) -> Any:
    """A copy of the tree with another value at a key; without the key if the value is `...`."""
    name, *rest = path
    if value is ... and not rest:
        return {key: inner for key, inner in tree.items() if key != name}
    return {**tree, name: with_value(tree[name], tuple(rest), value) if rest else value}


def sentence_for(tree: Any) -> str:
    """The sentence that refuses a tree."""
    with mock.patch.object(yaml_file, "read", return_value=tree), pytest.raises(UserError) as refused:
        parameters.read("params.yaml")
    sentence = str(refused.value)
    assert sentence.startswith("params.yaml: ")
    assert sentence.isprintable()
    assert len(sentence) < 1000
    return sentence.removeprefix("params.yaml: ")


def refusal(*changes: str, study: str = "digits") -> str:
    """The sentence that refuses a shipped study with changes such as "train.epochs=0"."""
    tree = complete(study)
    for change in changes:
        key, _, value = change.partition("=")
        tree = with_value(tree, tuple(key.split(".")), YAML(typ="safe", pure=True).load(value))
    return sentence_for(tree)
