"""Captions of maps: how far each can be trusted."""

import math
from collections.abc import Mapping, Sequence

from glassbox.core.text import MINUS, counted, listed
from glassbox.explainers.catalog import TITLES, TOLERANCE

NAMED = 20  # images in a sentence


def sound(details: Mapping[str, float]) -> bool:
    """Whether a map keeps what its explainer promises, and may be shown: Shapley values add up to the prediction."""
    return details.get("additivity_error", 0.0) <= TOLERANCE


def note(details: Mapping[str, float], zero: bool, explainer: str, empty_class: str = "") -> str:
    """A map's caption, from its details (see `Attribution`), whether all of it is `zero`, and the explainer's name.
    `empty_class` is the name of the class that is most probable with every region hidden; "" if unknown."""
    if not sound(details):
        return f"not shown: sums to f(x) ± {details['additivity_error']:.2g}"
    if math.isnan(details.get("local_r2", 0.0)):
        return "no R²: the class's probability\ndoes not vary near the image"
    if zero and explainer == "grad_cam":
        return "all zero: nothing in its layer\nspeaks for the class (ReLU)"
    if zero:
        return "all zero: nothing speaks for it"
    if "local_r2" in details:
        return f"local R² {details['local_r2']:.2f}"
    if "additivity_error" in details:
        hidden = f"\nall hidden: {empty_class} ({details['empty_probability']:.2f})" if empty_class else ""
        return f"base {details['base_value']:.2f}, sums to f(x){hidden}"
    if "completeness_error" in details:
        return f"completeness error {details['completeness_error']:.2g}"
    return ""


def on_squares(images: Sequence[int], of: int) -> list[str]:
    """A sentence about the test images, of so many in all, whose regions are a grid of squares; none without them."""
    if not images:
        return []
    named = [str(image) for image in images[:NAMED]] + [f"{len(images) - NAMED:,} more"] * (len(images) > NAMED)
    return [
        f"In {counted(len(images))} of {of:,} SLIC finds too few or too many regions (explain.superpixels), and a grid "
        f"of squares takes their place: test {'image' if len(images) == 1 else 'images'} {listed(named)}."
    ]


def constant_maps(counts: Mapping[str, Mapping[str, int]], relu: bool) -> list[str]:
    """Sentences about explainers with maps of one value, which rank no pixel; `counts` are of
    `score_tables.constant_maps`, and `relu` is whether Grad-CAM keeps only what is positive."""
    sentences = []
    for name, count in counts.items():
        if name in TITLES and count["constant"]:
            cause = ""
            if name == "grad_cam" and relu:
                cause = ": nothing in its layer speaks for the class there, and ReLU leaves only zeros"
            sentences.append(
                f"The map of {TITLES[name]} has one value everywhere for {count['constant']} of {count['images']} "
                f"images{cause}. Such a map ranks no pixel and has no score."
            )
    return sentences


def adding_up(base: float, evidence_for: float, evidence_against: float) -> tuple[float, float, float, float]:
    """Shapley values' base value, evidence for a class, evidence against it (here positive), and the probability that
    they add up to, rounded to two decimals so that base + for - against = probability holds for the rounded numbers.

    Base value and probability are rounded as usual; evidence is adjusted, by less than 0.015, on the side where the
    result is nearer to the exact number. The given evidence against the class is negative or 0.
    """
    exact = (base, evidence_for, -evidence_against, base + evidence_for + evidence_against)
    start, gain, loss, end = (round(100 * float(f"{number:.2f}")) for number in exact)  # hundredths
    while missing := end - (start + gain - loss):
        step = 1 if missing > 0 else -1
        by_gain, by_loss = abs(gain + step - 100 * exact[1]), abs(loss - step - 100 * exact[2])
        if loss - step < 0 or (gain + step >= 0 and by_gain <= by_loss):
            gain += step
        else:
            loss -= step
    return start / 100, gain / 100, loss / 100, end / 100


def equation(base: float, evidence_for: float, evidence_against: float) -> str:
    """The numbers of `adding_up` as one line."""
    start, gain, loss, end = adding_up(base, evidence_for, evidence_against)
    return f"{start:.2f} + {gain:.2f} {MINUS} {loss:.2f} = {end:.2f}"
