"""The section `study`: its name and its seed."""

from typing import Annotated

from pydantic import Field

from glassbox.config.section import Section


class Study(Section):
    name: Annotated[
        str,
        Field(
            pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
            max_length=64,
            description="1 to 64 letters, digits, '.', '_' or '-', the first a letter or digit",
        ),
    ]
    seed: Annotated[int, Field(ge=0, lt=2**32)]
