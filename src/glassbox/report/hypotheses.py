"""The three hypotheses of the ResNet-50 paper as checks with numbers, on whatever the study trained and explained.

The paper looks at three pictures and finds all three supported. Here each check has a criterion, and all but one an
interval and a number of images too low for any verdict. Judged are the images that were drawn at random for it,
recognised ones for the second and mistakes for the third, and neither those that the user chose nor those of confusable
pairs.
"""

from typing import Any

import numpy as np
import pandas as pd

from glassbox import bootstrap
from glassbox.names import TITLES, TOLERANCE
from glassbox.seeds import derive
from glassbox.xai_metrics.base import Metric
from glassbox.xai_metrics.intervention import CORRECTION, DISCRIMINATION
from glassbox.xai_metrics.localization import RELEVANCE_MASS

SUPPORTED, REFUTED, OPEN, UNTESTED = "supported", "not supported", "undecided", "not tested"


def check(
    metrics: dict[str, Any], target: float, index: pd.DataFrame, panels: pd.DataFrame | None,
    recognised: pd.DataFrame, mistakes: pd.DataFrame, analyst: str, seed: int, marked: bool,
) -> list[dict[str, Any]]:  # fmt: skip
    """The hypotheses, each with its checks.

    Args:
        metrics: of the test split.
        target: accuracy to exceed.
        index: one row a map.
        panels: one row for each of KernelSHAP's maps of many classes, if there are any.
        recognised, mistakes: see `analyses.Analyses`.
        analyst: the explainer whose maps of mistakes are judged.
        seed: of the study.
        marked: whether the source says where the object is; else it was estimated.

    Returns:
        For each its number, statement, verdict and checks. A check says what is measured, in which unit, the value with
        its interval, the number of images, the criterion, and the verdict on it; value and interval are None where
        there was nothing to measure. A hypothesis is supported if all its checks are, and not supported if any is not.
    """
    title = TITLES[analyst]
    accuracy = {
        "name": "accuracy", "what": "Share of the test images that are recognised", "unit": "share, 0..1",
        "value": metrics["accuracy"], "low": metrics["accuracy_low"], "high": metrics["accuracy_high"],
        "images": metrics["images"], "criterion": f"above {target:g}",
        "verdict": _above(metrics["accuracy_low"], metrics["accuracy_high"], target),
    }  # fmt: skip
    shap = index[index["explainer"] == "kernel_shap"]
    own = shap[(shap["group"] == "correct") & (shap["explained_class"] == shap["predicted_class"])]
    if len(own):  # else the column may be missing
        own = own[own["additivity_error"] <= TOLERANCE]
    inside = (own["relevance_mass"] - own["object_area"]).dropna()
    place = "is" if marked else "is estimated to be"
    drawn = recognised[recognised["group"] == "correct"]
    specific = drawn["drop_own"] - drawn["drop_other"]
    judged = mistakes[(mistakes["explainer"] == analyst) & (mistakes["group"] == "mistake")]
    corrected = judged["corrected"] - judged["corrected_at_random"]
    return [
        _hypothesis(1, "The network gets more of the test images right than the target accuracy.", [accuracy]),
        _hypothesis(
            2,
            "SHAP's explanations are locally accurate and class-discriminative, and point at the object.",
            [
                _additivity(shap if panels is None else panels),
                _mean("class_discrimination", DISCRIMINATION, specific, seed,
                      "How much more the class's probability falls without the regions that KernelSHAP ranks first for "
                      "it than without those that it ranks first for the next class"),
                _mean("mass_on_the_object", RELEVANCE_MASS, inside, seed,
                      f"Share of KernelSHAP's positive attribution that lies where the object {place}, beyond the "
                      "object's share of the image"),
            ],
        ),
        _hypothesis(
            3,
            "Explanations of mistakes find what misled the network.",
            [
                _mean("correction", CORRECTION, corrected, seed,
                      f"Share of the mistakes that turn right without the regions that {title} names, beyond that "
                      "without random regions"),
            ],
        ),
    ]  # fmt: skip


def _above(low: float, high: float, bound: float) -> str:
    return SUPPORTED if low > bound else REFUTED if high < bound else OPEN


def _additivity(shap: pd.DataFrame) -> dict[str, Any]:
    errors = shap["additivity_error"].to_numpy() if len(shap) else np.array([])
    return {
        "name": "local_accuracy",
        "what": f"Largest |sum of SHAP values - (f(x) - base value)| of {len(errors)} maps, which KernelSHAP holds "
                "them to, so that an error tells of a fault",
        "unit": "probability",
        "value": float(errors.max()) if len(errors) else None, "low": None, "high": None,
        "images": int(shap["image"].nunique()) if len(errors) else 0, "maps": len(errors),
        "criterion": f"at most {TOLERANCE:g}",
        "verdict": (SUPPORTED if errors.max() <= TOLERANCE else REFUTED) if len(errors) else UNTESTED,
    }  # fmt: skip


def _mean(name: str, metric: Metric, values: pd.Series, seed: int, what: str) -> dict[str, Any]:
    """The mean of a number a image, with its bootstrap interval; too few images give no verdict."""
    values = values.to_numpy(dtype=float)
    row = {
        "name": name,
        "what": what,
        "unit": metric.unit,
        "citation": metric.citation,
        "value": None,
        "low": None,
        "high": None,
        "images": len(values),
    }
    verdict = UNTESTED
    if len(values):
        low, high = bootstrap.interval(values, derive(seed, "report", name))
        row |= {"value": float(values.mean()), "low": low, "high": high}
        verdict = _above(low, high, 0.0) if len(values) >= bootstrap.FEWEST else OPEN
    return row | {"criterion": "above 0", "verdict": verdict}


def _hypothesis(number: int, statement: str, checks: list[dict[str, Any]]) -> dict[str, Any]:
    verdicts = {check["verdict"] for check in checks}
    verdict = next(
        (verdict for verdict in (REFUTED, UNTESTED, OPEN) if verdict in verdicts),
        SUPPORTED,
    )
    return {"number": number, "hypothesis": statement, "verdict": verdict, "checks": checks}


def sentence(check: dict[str, Any]) -> str:
    """A check in words and figures."""
    if check["value"] is None:
        return f"{check['what']}: nothing to measure."
    value = f"{check['value']:.3g}"
    if check["low"] is not None:
        value += f" [{check['low']:.3g}, {check['high']:.3g}]"
    images = f"{check['images']:,} image{'s' * (check['images'] != 1)}"
    return f"{check['what']}: {value} on {images}; {check['criterion']} is {check['verdict']}."
