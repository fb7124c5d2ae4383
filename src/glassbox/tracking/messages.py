"""What goes through the pipe from a stage to its recorder: a method of `recorder.Recorder` to call, one a line, in
JSON."""

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

BASE64 = "base64"  # the only key of a mapping that stands for bytes


class Message(NamedTuple):
    """A call.

    Attributes:
        method: of the recorder.
        sent_at: milliseconds since 1970.
        arguments, options: positional and by keyword. Paths arrive as strings, NumPy's arrays and tuples as lists.
    """

    method: str
    sent_at: int
    arguments: Sequence[Any]
    options: dict[str, Any]


def encode(message: Message) -> str:
    return json.dumps(message, default=_plain) + "\n"


def decode(line: str) -> Message:
    return Message(*json.loads(line, object_hook=_bytes_again))


def _plain(value: Any) -> Any:
    """What JSON has no form for, in one that it has."""
    if isinstance(value, bytes):
        return {BASE64: base64.b64encode(value).decode()}
    return str(value) if isinstance(value, Path) else value.tolist()


def _bytes_again(mapping: dict[str, Any]) -> Any:
    return base64.b64decode(mapping[BASE64]) if mapping.keys() == {BASE64} else mapping
