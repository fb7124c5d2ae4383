"""How a stage reads its own sections of the parameter file, and no others."""

from pathlib import Path
from typing import Any

from pydantic import ConfigDict, create_model

from glassbox.config import yaml_file
from glassbox.config.messages import checked
from glassbox.config.section import Section, Sections
from glassbox.config.yaml_file import PARAMS_FILE


class _Some(Sections):
    model_config = ConfigDict(extra="ignore")


def load(*sections: type[Section], file: str | Path = PARAMS_FILE) -> tuple[Any, ...]:
    """Some sections of the parameter file, in the order of the arguments. They and the rules between them are checked;
    other sections are ignored.

    >>> study, data = load(Study, Data)  # doctest: +SKIP

    Raises:
        UserError: the file is missing, not YAML, or holds a wrong, missing or unknown key in one of them.
    """
    fields = {section.__name__.lower(): (section, ...) for section in sections}
    loaded = checked(create_model("Loaded", __base__=_Some, **fields), yaml_file.read(file), file)
    return tuple(getattr(loaded, name) for name in fields)
