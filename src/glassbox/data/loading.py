"""Image sources by name."""

from importlib import import_module

from glassbox.data.base import Asked, Images


def load_source(asked: Asked) -> Images:
    """The images of the source `asked.data.source`, unlimited and not yet split.

    A source is one file in sources/, whose name is the source's, with a function `source` that takes an `Asked` and
    returns `Images`.

    Raises:
        UserError: the images cannot be read or made.
    """
    return import_module(f"glassbox.data.sources.{asked.data.source}").source(asked)
