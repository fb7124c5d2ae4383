"""What a metric of explanations declares."""

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

    @property
    def direction(self) -> str:
        """In words."""
        return {True: "higher is better", False: "lower is better", None: "unranked"}[self.higher_is_better]
