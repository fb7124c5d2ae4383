"""Image sources by name."""

from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path

from glassbox.config.data import Data
from glassbox.data.base import Asked, Images


def load_source(
    data: Data, seed: int, progress: Callable[[Iterable], Iterable] = iter, kept: str | Path | None = None
) -> Images:
    """The images that the section `data` asks for, unlimited and not yet split.

    A new source is one file in sources/, which gives it its name, with a function `source` that takes an `Asked`
    and returns `Images`. Arguments are those of `Asked`.

    Raises:
        UserError: they cannot be had.
    """
    return import_module(f"glassbox.data.sources.{data.source}").source(Asked(data, seed, progress, kept))
