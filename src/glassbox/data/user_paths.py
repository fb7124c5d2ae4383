"""Folders and files that a user names: found, or refused in one sentence, and told of on one line."""

import os
from pathlib import Path
from unicodedata import category

from glassbox.core.errors import UserError, cut

# What would break a line, or a terminal: control characters, halves of a surrogate pair, separators of lines and
# paragraphs.
UNPRINTABLE = ("Cc", "Cs", "Zl", "Zp")


def text_of(path: str | Path) -> str:
    r"""A path as text, each byte that is not UTF-8 as an escape like \xff: what is not text could not be written."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def shown(path: str | Path) -> str:
    """`text_of` on one line, for a sentence."""
    return one_line(text_of(path))


def one_line(text: str) -> str:
    r"""Text for a sentence: control characters are escapes, a line break \n."""
    return "".join(
        letter.encode("unicode_escape").decode() if category(letter) in UNPRINTABLE else letter for letter in text
    )


def is_folder(path: str | Path) -> bool:
    """Whether there is a folder, or a link to one; not, where nobody may look (Path.is_dir raises there)."""
    return os.path.isdir(path)  # noqa: PTH112


def exists(path: str | Path) -> bool:
    """Whether there is anything, links followed; not, where nobody may look (Path.exists raises there)."""
    return os.path.exists(path)  # noqa: PTH110


def is_file(path: str | Path) -> bool:
    """Whether there is a file, or a link to one; not, where nobody may look, or where the name is too long for any."""
    return os.path.isfile(path)  # noqa: PTH113


def expanded(given: str | Path) -> Path:
    """A path that a user gave; ~ is the user's own folder, and ~somebody, who is nobody here, a name like any other."""
    try:
        return Path(given).expanduser()
    except RuntimeError:
        return Path(given)


def folder(name: str, given: str | Path, holds: str) -> Path:
    """The folder that a user named.

    Args:
        name: of the parameter or variable.
        given: its value; ~ is the user's own folder.
        holds: what must be in it, for the sentence.

    Raises:
        UserError: there is no such folder.
    """
    path = expanded(given)
    if not is_folder(path):
        raise UserError(f"{name} = {cut(str(given))!r} is no folder: it must hold {holds}")
    return path
