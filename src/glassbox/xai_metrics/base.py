"""What a metric of explanations declares: a table can then sort itself."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """A number for each explained image.

    Attributes:
        name: column name.
        property: what of an explanation it measures.
        higher_is_better: direction; None for a description that ranks nothing.
        unit: of the number.
        citation: where it is defined.
    """

    name: str
    property: str
    higher_is_better: bool | None
    unit: str
    citation: str
