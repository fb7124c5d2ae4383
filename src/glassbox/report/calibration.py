"""What a report says of calibration: which probabilities the study gives, and how far they can be believed."""

from typing import Any

from glassbox.report.words import percent

AFTER, AS_TRAINED = "after temperature scaling", "as trained"


def which(calibration: dict[str, Any]) -> str:
    """The probabilities that a study speaks of, in words.

    Args:
        calibration: of calibration.json.
    """
    return f"{AFTER} (T = {calibration['temperature']:.3g})" if calibration["scaling_used"] else AS_TRAINED


def both(metrics: dict[str, float], name: str, calibration: dict[str, Any]) -> str:
    """A score of the probabilities that the study gives, and that of those as trained where it is another one; each
    named.

    Args:
        metrics: of metrics.json.
        name: log_loss, brier or ece.
        calibration: of calibration.json.
    """
    show = (lambda value: percent(value, 1)) if name == "ece" else "{:.3f}".format
    given = f"{show(metrics[name])} {which(calibration)}"
    as_trained = f", {show(metrics[f'{name}_as_trained'])} {AS_TRAINED}"
    return given + (as_trained if calibration["scaling_used"] else "")


def error(metrics: dict[str, float], calibration: dict[str, Any], bins: int) -> str:
    """The calibration error, with what it was measured on."""
    return f"{both(metrics, 'ece', calibration)} ({metrics['images']:,} test images in {bins} bins)"


def sentences(metrics: dict[str, float], calibration: dict[str, Any], bins: int) -> list[str]:
    """All that is said of calibration.

    Args:
        metrics: of metrics.json.
        calibration: of calibration.json.
        bins: of the ECE.
    """
    limit, found = metrics["ece_by_chance"], metrics["ece"]
    beyond = "is above" if found > limit else "does not exceed"
    return [
        calibration["reason"],
        f"All probabilities of this study, in its tables, figures and explanations and from the served model, are "
        f"those {which(calibration)}.",
        f"Their expected calibration error (ECE), the mean over images of |accuracy - confidence| in "
        f"the image's bin: {error(metrics, calibration, bins)}.",
        f"The ECE {which(calibration)} {beyond} {percent(limit, 1)}, below which a calibrated classifier with the same "
        "confidences stays in 95 % of draws of as many images.",
    ]
