"""Lists and numbers in sentences."""

from collections.abc import Sequence

MINUS = "\N{MINUS SIGN}"  # before a number, in figures and on pages


def listed(items: Sequence[str]) -> str:
    """Items, at least one, as a sentence lists them.

    >>> listed(["a"]), listed(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    return " and ".join([", ".join(items[:-1]), items[-1]] if len(items) > 1 else items)


def counted(n: int, what: str = "image") -> str:
    """A number of things whose plural ends in s.

    >>> counted(0), counted(1), counted(2000, "test image")
    ('0 images', '1 image', '2,000 test images')
    """
    return f"{n:,} {what}{'' if n == 1 else 's'}"
