"""A section of the parameter file, and rules between sections."""

import inspect
from collections.abc import Callable

from pydantic import BaseModel, ConfigDict, model_validator


class Section(BaseModel):
    """A mapping of the parameter file: frozen, nothing unknown let in. One of the whole file is called in it like its
    class, in small letters."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def rule(check: Callable[..., None]) -> Callable[..., None]:
    """Marks a method of a section that raises ValueError where values do not go together. It is asked whenever its own
    section is read together with those that its other arguments are named after, and its sentence names the keys from
    the top of the file. It belongs to the last of its sections, so that those before know nothing of this one."""
    check.others = tuple(inspect.signature(check).parameters)[1:]
    return check


class Sections(Section):
    """Sections that are read together, and must agree."""

    @model_validator(mode="after")
    def _agree(self) -> "Sections":
        given = dict(self)
        for section in given.values():
            for check in vars(type(section)).values():
                others = getattr(check, "others", None)
                if others is not None and given.keys() >= set(others):
                    check(section, *(given[name] for name in others))
        return self
