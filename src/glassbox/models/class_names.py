"""The names of a network's outputs, and the classes of the data among them."""

import difflib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from glassbox.config.model import IMAGENET_CLASSES
from glassbox.core.errors import UserError, cut

CLASSES = ("classes", "class_names", "class_to_idx", "idx_to_class", "id2label", "names")  # keys that name classes

Names = tuple[tuple[str, ...], ...]  # of each output, in their order: one name, or several that mean the same


@dataclass(frozen=True)
class Order:
    """The outputs of a network in the order in which a study counts classes.

    Attributes:
        outputs: positions of the network's outputs: first those of the data's classes, then the others.
        classes: their names; of the first ones those that the data have.
    """

    outputs: tuple[int, ...]
    classes: tuple[str, ...]


def plain(names: Sequence[str]) -> Names:
    """Names of which each output has one."""
    return tuple((name,) for name in names)


@cache
def imagenet() -> Names:
    """The names of ImageNet-1k's classes: for each output the word, like "tench", its synonyms, and its key in WordNet,
    like "n01440764". Source: timm's `ImageNetInfo`."""
    from timm.data import ImageNetInfo

    info = ImageNetInfo()
    described = [info.index_to_description(number) for number in range(info.num_classes())]
    counts = Counter(words.split(", ")[0] for words in described)
    names = []
    for number, words in enumerate(described):
        first = words.split(", ")[0]
        key = info.index_to_label_name(number)
        shown = first if counts[first] == 1 else f"{first} ({key})"
        names.append(tuple(dict.fromkeys((shown, key, *words.split(", ")))))
    return tuple(names)


def asked(classes: tuple[str, ...] | str | None) -> Names | None:
    """The names that `model.classes` gives; None where it is null.

    Raises:
        UserError: the file is missing, or names no classes.
    """
    if classes is None or not isinstance(classes, str):
        return classes and plain(classes)
    if classes == IMAGENET_CLASSES:
        return imagenet()
    try:
        text = Path(classes).read_text(encoding="utf-8")
        found = in_content(json.loads(text)) if classes.endswith(".json") else tuple(text.split("\n"))
    except FileNotFoundError:
        raise UserError(f"model.classes names the file {classes}, which does not exist") from None
    except (OSError, ValueError) as error:
        raise UserError(f"model.classes: the file {classes} cannot be read ({cut(str(error), 160)})") from None
    names = tuple(name.strip() for name in found or () if name.strip())
    if len(names) < 2:
        raise UserError(
            f"model.classes: the file {classes} must hold the names of at least two classes: a .txt file one on each "
            'line, a .json file a list or {"classes": [...]}'
        )
    if twice := [name for name, n in Counter(names).items() if n > 1]:
        raise UserError(f"model.classes: the file {classes} holds {twice[0]!r} twice: every output needs its own name")
    return plain(names)


def in_content(content: Any) -> tuple[str, ...] | None:
    """The classes that the content of a checkpoint or of a JSON file names, if it does."""
    if isinstance(content, list):
        return _listed(content)
    if not isinstance(content, dict):
        return None
    return next((names for key in CLASSES if (names := _listed(content.get(key)))), None)


def _listed(value: Any) -> tuple[str, ...] | None:
    """Names in a list, or in a mapping between names and positions, in either direction."""
    if isinstance(value, dict):
        by_position = {int(key): name for key, name in value.items() if isinstance(name, str) and str(key).isdecimal()}
        by_position = by_position or {position: name for name, position in value.items()}
        if set(by_position) != set(range(len(value))):
            return None
        value = [by_position[position] for position in range(len(value))]
    if not isinstance(value, list | tuple) or not value or not all(isinstance(name, str) for name in value):
        return None
    return tuple(value)


def order(names: Names, classes: Sequence[str], which: str) -> Order:
    """The order of the outputs with these names for data with these classes. A class is found by its name as it stands,
    or else without regard to case, blanks, underscores and hyphens.

    Args:
        which: where the names come from, for messages.

    Raises:
        UserError: a class of the data is not among them, or the same output as another.

    >>> order(plain(["bee", "Cat", "ant"]), ["ant", "cat"], "the list")
    Order(outputs=(2, 1, 0), classes=('ant', 'cat', 'bee'))
    """
    exact: dict[str, list[int]] = {}
    loose: dict[str, list[int]] = {}
    for number, same in enumerate(names):
        for name in same:
            exact.setdefault(name, []).append(number)
            loose.setdefault(_plain(name), []).append(number)
    found: dict[int, str] = {}
    for name in classes:
        numbers = exact.get(name) or sorted(set(loose.get(_plain(name), [])))
        if len(numbers) != 1:
            raise UserError(_missing(name, numbers, names, which))
        if numbers[0] in found:
            raise UserError(
                f"{which}: the classes {found[numbers[0]]!r} and {name!r} of the data are both output {numbers[0]}, "
                f"{names[numbers[0]][0]!r}: put their images into one folder"
            )
        found[numbers[0]] = name
    others = [number for number in range(len(names)) if number not in found]
    shown = [names[number][0] for number in others]
    taken = Counter([*classes, *shown])
    shown = [name if taken[name] == 1 else f"{name} (output {n})" for name, n in zip(shown, others, strict=True)]
    return Order((*found, *others), (*classes, *shown))


def _missing(name: str, numbers: list[int], names: Names, which: str) -> str:
    if numbers:
        several = ", ".join(names[number][0] for number in numbers)
        return f"{which}: the class {name!r} of the data may be any of {several}: rename its folder to one of these"
    known = {_plain(one): one for same in names for one in same}
    close = difflib.get_close_matches(_plain(name), known, n=1)
    hint = f" (did you mean {known[close[0]]!r}?)" if close else ""
    listed = cut(", ".join(same[0] for same in names), 200)
    return f"{which} has no class {name!r}{hint}, which the data have; the outputs are {listed}"


def _plain(name: str) -> str:
    return " ".join(name.casefold().replace("_", " ").replace("-", " ").split())
