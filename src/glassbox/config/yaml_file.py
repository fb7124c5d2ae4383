"""The parameter file as YAML: how it is read, and changed without losing comments. Keys have no meaning here."""

import io
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from ruamel.yaml import YAML
from ruamel.yaml.constructor import ConstructorError, SafeConstructor
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.representer import RoundTripRepresenter

from glassbox.config.messages import dotted, shown
from glassbox.core.errors import UserError, cut

PARAMS_FILE = "params.yaml"
FREE = ("model.arguments.", "tune.space.")  # sections that take any key: a change may add one
MOST_VALUES = 1_000_000  # of a file, aliases resolved


def read(file: str | Path = PARAMS_FILE) -> dict[str, Any]:
    """The unchecked values of a parameter file.

    Raises:
        UserError: the file is missing, not YAML, or no mapping.
    """
    try:
        text = Path(file).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{file} is missing: copy one of studies/*.yaml to it") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file} cannot be read: {error}") from None
    return parse(text, file)


def parse(text: str, file: str | Path = PARAMS_FILE) -> dict[str, Any]:
    """The unchecked values in the text of a parameter file; see `read`. `file` is its name for messages."""
    try:
        tree = _yaml(text)
    except YAMLError as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None) or str(error)
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        words = " ".join(problem.split())
        printable = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in words)
        raise UserError(f"{file} is not YAML: {place}{cut(printable)}") from None
    if not isinstance(tree, dict):
        raise UserError(f"{file} must hold the sections of a study, as studies/*.yaml do; it holds {shown(tree)}")
    return tree


def edit(text: str, changes: Iterable[str], file: str | Path = PARAMS_FILE) -> str:
    """The text of a parameter file with some values changed; comments stay.

    Args:
        text: YAML.
        changes: like "train.epochs=3"; the value is YAML.
        file: its name for messages.

    Raises:
        UserError: a change is not KEY=VALUE, or its key does not exist.
    """
    changes = list(changes)
    if not changes:
        return text
    yaml = YAML()
    yaml.preserve_quotes, yaml.width, yaml.Representer = True, 4096, _Representer
    tree = yaml.load(text)
    for change in changes:
        key, equals, value = change.partition("=")
        if not (key and equals):
            raise UserError(f"{shown(change)} is no change of a parameter: it must be like train.epochs=3")
        *path, last = key.split(".")
        section, is_free = tree, key.startswith(FREE)
        for depth, part in enumerate(path):
            if is_free and depth and isinstance(section, dict) and section.get(part) is None:
                section[part] = {}
            section = section.get(part) if isinstance(section, dict) else None
        if not isinstance(section, dict) or not (is_free or last in section):
            raise UserError(f"{dotted([key])} is not a parameter in {file}")
        try:
            section[last] = _yaml(value)
        except YAMLError:
            raise UserError(f"{shown(change)} is no change of a parameter: {shown(value)} is not YAML") from None
    stream = io.StringIO()
    yaml.dump(tree, stream)
    return stream.getvalue()


def flatten(section: BaseModel | dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted keys to plain values, as `dvc exp run -S` and MLflow name them.

    >>> flatten({"train": {"epochs": 3}})
    {'train.epochs': 3}
    """
    # What was left out of the file is no parameter of this study.
    tree = section.model_dump(exclude_unset=True) if isinstance(section, BaseModel) else section
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = list(value) if isinstance(value, tuple) else value
    return flat


class _Representer(RoundTripRepresenter):
    """Writes null where ruamel.yaml leaves nothing."""

    def represent_none(self, _: None) -> ScalarNode:
        return self.represent_scalar("tag:yaml.org,2002:null", "null")


_Representer.add_representer(type(None), _Representer.represent_none)


class _Constructor(SafeConstructor):
    def flatten_mapping(self, node: Any) -> None:
        super().flatten_mapping(node)
        if len(node.value) > 1000:  # nested merges would fill the memory
            raise ConstructorError(problem="merges make more than 1000 keys", problem_mark=node.start_mark)


def _yaml(text: str) -> Any:
    """The values of a YAML text; a YAMLError for any that cannot be read or is too large."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about YAML 1.1, which a text may declare
        try:
            yaml = YAML(typ="safe", pure=True)
            yaml.Constructor = _Constructor
            values = yaml.load(text)
        except YAMLError:
            raise
        except Exception as error:  # a wrong tag, such as !!int, and a thousand brackets raise any kind of error
            raise YAMLError(f"{type(error).__name__}: {error}") from None
    _check_size(values)
    return values


def _check_size(values: Any) -> None:
    """Check that values are few: nested aliases stand for a billion values, or for themselves."""
    waiting, count = [values], 0
    while waiting:
        value = waiting.pop()
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list | set | tuple) else ()
        count += len(inner)
        if count > MOST_VALUES:
            raise YAMLError(f"it stands for more than {MOST_VALUES} values")
        waiting.extend(inner)
