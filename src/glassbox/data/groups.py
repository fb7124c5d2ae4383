"""Groups of related images, as those of one person: every split takes whole groups."""

import csv
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from glassbox.core.errors import UserError, cut
from glassbox.data.user_paths import shown


def read(groups: str, names: Sequence[str], folder: Path) -> np.ndarray:
    """The group of each image, (N,) text.

    Args:
        groups: `data.groups`: the name of a CSV file in the folder with the columns `file` (relative to the folder,
            like "cats/1.jpg") and `group`, or a regular expression with one group, which is searched for in each name.
        names, folder: the images' (N,) names relative to their folder, and that folder.

    Raises:
        UserError: the table cannot be read or contradicts itself, or an image has no group; the first one is named.
    """
    is_table = groups.lower().endswith(".csv")
    if is_table:
        group_of = _listed(groups, folder)
    else:
        group_of = {name: match[1] for name in names if (match := re.search(groups, name))}
    for name in names:
        if not group_of.get(name):
            why = "has no row with its group in it" if is_table else "does not match it"
            raise UserError(
                f"data.groups = {cut(groups)!r}: the image {shown(name)} {why}; every image must have a group"
            )
    return np.array([group_of[name] for name in names])


def _listed(table: str, folder: Path) -> dict[str, str]:
    path, group_of = folder / table, {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            if not {"file", "group"} <= set(rows.fieldnames or ()):
                raise UserError(f"data.groups: {shown(path)} must have the columns file and group in its first line")
            for row in rows:
                name, group = row["file"], row["group"]
                if (other := group_of.setdefault(name, group)) != group:
                    raise UserError(f"data.groups: {shown(path)} puts {shown(name)} into {other!r} and {group!r}")
    except FileNotFoundError:
        raise UserError(f"data.groups = {cut(table)!r}: there is no file {shown(path)}") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"data.groups: {shown(path)} cannot be read as a table in UTF-8 ({error})") from None
    return group_of
