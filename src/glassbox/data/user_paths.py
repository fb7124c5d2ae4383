"""Folders and files that a user names: found, or refused in one sentence, and printed on one line."""

import os
from pathlib import Path
from unicodedata import category

from glassbox.core.errors import UserError, cut

# Control characters, halves of a surrogate pair, separators of lines and paragraphs.
UNPRINTABLE = ("Cc", "Cs", "Zl", "Zp")
# Unlike those of Path, these return False where nobody may look.
is_folder, is_file, exists = os.path.isdir, os.path.isfile, os.path.exists


def text_of(path: str | Path) -> str:
    r"""A path as text, with an escape like \xff for each byte that is not UTF-8."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def shown(path: str | Path) -> str:
    """`text_of` on one line, for a message."""
    return one_line(text_of(path))


def one_line(text: str) -> str:
    r"""Text on one line: control characters become escapes, a line break \n."""
    return "".join(
        letter.encode("unicode_escape").decode() if category(letter) in UNPRINTABLE else letter for letter in text
    )


def expanded(path: str | Path) -> Path:
    """The path with ~ expanded; a ~name of nobody here is left as it is."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def folder(name: str, value: str | Path, holds: str) -> Path:
    """The folder that a user named as the value of the parameter or variable `name`; ~ is the user's home.

    Raises:
        UserError: there is no such folder; the message says what it must hold.
    """
    path = expanded(value)
    if not is_folder(path):
        raise UserError(f"{name} = {cut(str(value))!r} is no folder: it must hold {holds}")
    return path


def entries(folder: Path, real: Path) -> list[Path]:
    """What lies in a folder, by name. A link out of `real`, the resolved root, is refused."""
    try:
        inside = sorted(folder.iterdir())
        # A link that leads nowhere does not lead out: with an image's ending it is an unreadable image.
        links = [entry for entry in inside if entry.is_symlink() and exists(entry)]
    except OSError as error:
        raise UserError(
            f"the folder {shown(folder)} cannot be read ({error.strerror}): you must be allowed to list and to enter it"
        ) from None
    for link in links:
        target = Path(os.path.realpath(link))
        if not target.is_relative_to(real):
            raise UserError(
                f"{shown(link)} is a symbolic link to {shown(target)}, which is outside of the images' folder "
                f"{shown(real)}: put a copy in its place, or remove it"
            )
    return inside


def below(folder: Path, real: Path) -> list[Path]:
    """Every file below a folder, however deep. Links to folders are not followed: they could form a loop."""
    found = []
    for entry in entries(folder, real):
        deeper = is_folder(entry) and not entry.is_symlink()
        found += below(entry, real) if deeper else [entry]
    return sorted(found)
