"""What *evaluate* has found about a network that was trained elsewhere, from the content of metrics.json. Imports no
torch: the report needs none."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Finding:
    """A sentence, and whether it names a fault: explanations would be those of another model than its owner knows."""

    note: str
    is_fault: bool


def findings(metrics: dict[str, Any]) -> list[Finding]:
    """About the order of the outputs, see `class_order`, and the preprocessing, see `preprocessing_check`; none where
    there is nothing to say."""
    order, preprocessing = metrics.get("class_order"), metrics.get("preprocessing")
    return [
        *([Finding(order["note"], is_fault=True)] if order else []),
        *([Finding(preprocessing["note"], preprocessing["agrees"] is False)] if preprocessing else []),
    ]
