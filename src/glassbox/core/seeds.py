"""One seed for the study, an independent stream for every random decision."""

import hashlib


def derive(seed: int, *path: str | int) -> int:
    """A 32-bit seed for the decision named by `path`.

    Differently named streams are independent: adding an explainer does not change the maps of the others.

    >>> derive(0, "split") == derive(0, "split"), derive(0, "split") == derive(1, "split")
    (True, False)
    """
    text = "/".join(str(part) for part in (seed, *path))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
