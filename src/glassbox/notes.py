"""What is written under a map: how far it can be trusted."""

from collections.abc import Mapping

from glassbox.names import TITLES, TOLERANCE


def sound(details: Mapping[str, float]) -> bool:
    """Whether a map keeps what its explainer promises, and may be shown: Shapley values add up to the prediction."""
    return details.get("additivity_error", 0.0) <= TOLERANCE


def note(details: Mapping[str, float], zero: bool, explainer: str) -> str:
    """In a few words.

    Args:
        details: of the map's explainer, by name; see `Attribution.details`.
        zero: whether the whole map is zero.
        explainer: its name.
    """
    if not sound(details):
        return f"not shown: sums to f(x) ± {details['additivity_error']:.2g}"
    if zero and explainer == "grad_cam":
        return "all zero: nothing in its layer\nspeaks for the class (ReLU)"
    if zero:
        return "all zero: nothing speaks for it"
    if "local_r2" in details:
        return f"local R² {details['local_r2']:.2f}"
    if "additivity_error" in details:
        return f"base {details['base_value']:.2f}, sums to f(x)"
    if "completeness_error" in details:
        return f"completeness error {details['completeness_error']:.2g}"
    return ""


def constant_maps(counts: Mapping[str, Mapping[str, int]], relu: bool) -> list[str]:
    """Which explainers made maps of one value, which rank no pixel, in sentences.

    Args:
        counts: of `scoring.constant_maps`.
        relu: whether Grad-CAM keeps only what is positive.
    """
    sentences = []
    for name, count in counts.items():
        if name in TITLES and count["constant"]:
            cause = ""
            if name == "grad_cam" and relu:
                cause = ": nothing in its layer speaks for the class there, and ReLU leaves only zeros"
            sentences.append(
                f"{TITLES[name]}'s map has one value everywhere for {count['constant']} of {count['images']} images"
                f"{cause}. Such a map ranks no pixel and has no score."
            )
    return sentences
