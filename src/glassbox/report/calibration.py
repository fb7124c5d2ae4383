"""Calibration in sentences, from the contents of metrics.json and calibration.json: which probabilities the study
gives, and their calibration error."""

from typing import Any

from glassbox.report.words import percent

AFTER, AS_TRAINED = "after temperature scaling", "as trained"


def which(calibration: dict[str, Any]) -> str:
    """Which probabilities the study gives."""
    return f"{AFTER} (T = {calibration['temperature']:.3g})" if calibration["scaling_used"] else AS_TRAINED


def both(metrics: dict[str, float], name: str, calibration: dict[str, Any]) -> str:
    """The log_loss, brier or ece of the study's probabilities, and after temperature scaling also that of the unscaled
    ones."""
    show = (lambda value: percent(value, 1)) if name == "ece" else "{:.3f}".format
    text = f"{show(metrics[name])} {which(calibration)}"
    if calibration["scaling_used"]:
        text += f", {show(metrics[f'{name}_as_trained'])} {AS_TRAINED}"
    return text


def error(metrics: dict[str, float], calibration: dict[str, Any], bins: int) -> str:
    """The calibration error, with what it was measured on."""
    return f"{both(metrics, 'ece', calibration)} ({metrics['images']:,} test images in {bins} bins)"


def sentences(metrics: dict[str, float], calibration: dict[str, Any], bins: int) -> list[str]:
    """The report's paragraph on calibration, with the ECE in so many bins."""
    limit = metrics["ece_by_chance"]
    beyond = "is above" if metrics["ece"] > limit else "does not exceed"
    return [
        calibration["reason"],
        f"All probabilities in this study's tables, figures and explanations, and those of the served model, are "
        f"those {which(calibration)}.",
        f"Their expected calibration error (ECE), the mean over images of |accuracy - confidence| in "
        f"the image's bin: {error(metrics, calibration, bins)}.",
        f"The ECE {which(calibration)} {beyond} {percent(limit, 1)}, the 95 % quantile for a calibrated classifier "
        "with the same confidences and number of images.",
    ]
