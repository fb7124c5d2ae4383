"""A section of the parameter file, and rules between sections."""

import inspect
from collections.abc import Callable

from pydantic import BaseModel, ConfigDict, model_validator


class Section(BaseModel):
    """A mapping in the parameter file: frozen, without unknown keys. A section's name is its class name in small
    letters."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def rule(check: Callable[..., None]) -> Callable[..., None]:
    """Mark a section's method that raises ValueError for values that contradict each other. Its arguments are named
    after other sections; it is called if all of them are loaded. Its sentence names keys with their sections. It
    belongs to the last of its sections, so that the earlier ones do not depend on this one."""
    check.others = tuple(inspect.signature(check).parameters)[1:]
    return check


class Sections(Section):
    """Sections that are loaded together, with the rules between them."""

    @model_validator(mode="after")
    def _agree(self) -> "Sections":
        sections = dict(self)
        for section in sections.values():
            for check in vars(type(section)).values():
                others = getattr(check, "others", None)
                if others is not None and sections.keys() >= set(others):
                    check(section, *(sections[name] for name in others))
        return self
