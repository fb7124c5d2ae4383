"""Which images belong together: those of one person, one part, one recording. A split takes a group whole."""

import csv
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from glassbox.core.errors import UserError, cut
from glassbox.data.user_paths import expanded, shown

COLUMNS = ("file", "group")  # of a table of groups
TABLE = ".csv"  # how `data.groups` ends where it names a table


def read(given: str, names: Sequence[str], folder: str | Path) -> np.ndarray:
    """The group of each image.

    Args:
        given: `data.groups`: the name of a CSV file in the folder with the columns `file` (below the folder, like
            "cats/1.jpg") and `group`, or a regular expression with one group, which is searched for in each file's name
            below the folder.
        names: (N,) of the files below the folder.
        folder: of the images.

    Returns:
        (N,) text.

    Raises:
        UserError: the table cannot be read or contradicts itself, or an image has no group; the first one is named.
    """
    found = _listed(given, folder) if given.lower().endswith(TABLE) else _matched(given, names)
    for name in names:
        if not found.get(name):
            why = "has no row with its group in it" if given.lower().endswith(TABLE) else "does not match it"
            raise UserError(
                f"data.groups = {cut(given)!r}: the image {shown(name)} {why}; every image must have a group"
            )
    return np.array([found[name] for name in names])


def _matched(pattern: str, names: Sequence[str]) -> dict[str, str | None]:
    search = re.compile(pattern).search
    return {name: match[1] for name in names if (match := search(name))}


def _listed(given: str, folder: str | Path) -> dict[str, str]:
    path, found = expanded(folder) / given, {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            if not set(COLUMNS) <= set(rows.fieldnames or ()):
                raise UserError(f"data.groups: {shown(path)} must have the columns file and group in its first line")
            for row in rows:
                name, group = row["file"], row["group"]
                if found.setdefault(name, group) != group:
                    raise UserError(f"data.groups: {shown(path)} puts {shown(name)} into {found[name]!r} and {group!r}")
    except FileNotFoundError:
        raise UserError(f"data.groups = {cut(given)!r}: there is no file {shown(path)}") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"data.groups: {shown(path)} cannot be read as a table in UTF-8 ({error})") from None
    return found
