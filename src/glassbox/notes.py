"""What is written under a map: how far it can be trusted."""

from collections.abc import Mapping

from glassbox.names import TOLERANCE


def sound(details: Mapping[str, float]) -> bool:
    """Whether a map keeps what its explainer promises, and may be shown: Shapley values add up to the prediction."""
    return details.get("additivity_error", 0.0) <= TOLERANCE


def note(details: Mapping[str, float], zero: bool) -> str:
    """In a few words.

    Args:
        details: of the map's explainer, by name; see `Attribution.details`.
        zero: whether the whole map is zero.
    """
    if not sound(details):
        return f"not shown: sums to f(x) ± {details['additivity_error']:.2g}"
    if zero:
        return "all zero: nothing speaks for it"
    if "local_r2" in details:
        return f"local R² {details['local_r2']:.2f}"
    if "additivity_error" in details:
        return f"base {details['base_value']:.2f}, sums to f(x)"
    if "completeness_error" in details:
        return f"completeness error {details['completeness_error']:.2g}"
    return ""
