"""The three hypotheses of the ResNet-50 paper as checks with numbers, on whatever the study trained and explained.

The paper looks at three pictures and finds all three supported. Here each check has a criterion, and a map that
ignores the model does not meet those of the second hypothesis: it does not add up to the prediction, it is the same for
every class, and it is a control itself. Class discrimination is measured on the recognised images that were drawn at
random, correction on the mistakes that were; images that the user chose and those of confusable pairs do not count.
Faithfulness and localization are tested by *score*, against its controls. Nothing is said of objects where the source
has no true masks.
"""

import math
from typing import Any

import numpy as np
import pandas as pd

from glassbox.core.seeds import derive
from glassbox.core.text import counted
from glassbox.explainers.catalog import TITLES, TOLERANCE
from glassbox.scoring import verdicts
from glassbox.statistics import bootstrap, paired
from glassbox.statistics.outcomes import UNDECIDED, WORSE
from glassbox.xai_metrics.base import Metric
from glassbox.xai_metrics.catalog import MEASUREMENTS
from glassbox.xai_metrics.intervention import CORRECTION, DISCRIMINATION

SUPPORTED, REFUTED, OPEN, UNTESTED = "supported", "not supported", "undecided", "not tested"
SHAP = "kernel_shap"
FAITHFULNESS = ("deletion_auc", "road")  # metrics of *score* by which Shapley values must be better than every control
LOCALIZATION = "excess_relevance_mass"
NO_MASKS = "the data have no true masks"
QUANTILES = 1.96, 0.84  # of the normal distribution: for 95 % intervals, and for a power of 80 %


def check(
    metrics: dict[str, Any],
    target: float,
    index: pd.DataFrame,
    panels: pd.DataFrame | None,
    recognised: pd.DataFrame,
    mistakes: pd.DataFrame,
    analyst: str,
    seed: int,
    masks: bool,
    ranking: dict[str, Any] | None,
) -> list[dict[str, Any]]:
    """The hypotheses, each with its checks.

    Args:
        metrics: of the test split.
        target: accuracy to exceed.
        index: one row a map.
        panels: one row for each map of Shapley values of many classes, if there are any.
        recognised, mistakes: see `analyses.Analyses`.
        analyst: the explainer whose maps of mistakes are judged.
        seed: of the study.
        masks: whether the source has true masks.
        ranking: of *score*; None where explainers were not scored.

    Returns:
        For each its number, statement, verdict and checks. A check says what is measured, in which unit, the value with
        its interval, the number of images, the criterion, and the verdict on it; value and interval are None where
        there was nothing to measure (`why` says the reason), and the interval where images are too few for one or all
        values are the same (`without_interval` says which). A check against controls has their names by outcome in
        `controls`; another one that is undecided has `images_needed`: see `_needed`, or the fewest that have an
        interval. A hypothesis is supported if all its checks are, not
        supported if any is not, not tested if none of them was tested, and undecided otherwise.
    """
    title = TITLES[analyst]
    shap = index[index["explainer"] == SHAP]
    drawn = recognised[recognised["group"] == "correct"]
    specific = (drawn["drop_own"] - drawn["drop_other"]).astype(float)
    judged = mistakes[(mistakes["explainer"] == analyst) & (mistakes["group"] == "mistake")]
    corrected = (judged["corrected"] - judged["corrected_at_random"]).astype(float)
    return [
        _hypothesis(
            1, "The network gets more of the test images right than the target accuracy.", [_accuracy(metrics, target)]
        ),
        _hypothesis(
            2,
            "SHAP's explanations are locally accurate and class-discriminative, and point at the object.",
            [
                _additivity(shap if panels is None else panels),
                *(_against_controls("faithfulness", metric, ranking) for metric in FAITHFULNESS),
                _mean(
                    "class_discrimination",
                    DISCRIMINATION,
                    specific,
                    bootstrap.interval(specific.to_numpy(), derive(seed, "report", "class_discrimination")),
                    "How much more the class's probability falls without the regions that Shapley values rank first "
                    "for it than without those that they rank first for the next class",
                    "no recognised image that was drawn has Shapley values of its class and the next",
                ),
                _against_controls("localization", LOCALIZATION, ranking, why="" if masks else NO_MASKS),
            ],
        ),
        _hypothesis(
            3,
            "Explanations of mistakes find what misled the network.",
            [
                _mean(
                    "correction",
                    CORRECTION,
                    corrected,
                    paired.share_interval(corrected.to_numpy()),
                    f"Share of the mistakes that turn right without the regions that {title} names, beyond that "
                    "without random regions",
                    "no mistake was explained",
                ),
            ],
        ),
    ]


def by_outcome(tests: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Titles of the controls that an explainer was tested against, by outcome.

    Args:
        tests: of `tests_of`.
    """
    return verdicts.by_outcome(tests, untrained="itself on an untrained network")


def tests_of(ranking: dict[str, Any] | None, metric: str, explainer: str) -> list[dict[str, Any]]:
    """The rows of an explainer against the controls by a metric; none where it was not scored by it.

    Args:
        ranking: the file ranking.json.
    """
    row = (ranking or {}).get("metrics", {}).get(metric, {})
    return [test for test in row.get("controls", ()) if test["explainer"] == explainer]


def _above(low: float, high: float, bound: float) -> str:
    return SUPPORTED if low > bound else REFUTED if high < bound else OPEN


def _needed(images: int, distance: float, low: float, high: float) -> int | None:
    """About how many images would decide a check with a probability of 80 %, were mean and spread as they are: an
    interval's width falls with the root of their number. None where the mean lies on the bound.

    Args:
        images: that the interval is made of.
        distance: of the mean from the bound.
        low, high: the interval.
    """
    if distance == 0:
        return None
    factor = sum(QUANTILES) / QUANTILES[0]
    return math.ceil(images * (factor * (high - low) / 2 / distance) ** 2)


def _accuracy(metrics: dict[str, Any], target: float) -> dict[str, Any]:
    low, high, value, images = (metrics[name] for name in ("accuracy_low", "accuracy_high", "accuracy", "images"))
    verdict = _above(low, high, target)
    row = {
        "name": "accuracy",
        "what": "Share of the test images that are recognised",
        "unit": "share, 0..1",
        "value": value,
        "low": low,
        "high": high,
        "images": images,
        "criterion": f"above {target:g}",
        "verdict": verdict,
    }
    return row | ({"images_needed": _needed(images, value - target, low, high)} if verdict == OPEN else {})


def _additivity(shap: pd.DataFrame) -> dict[str, Any]:
    errors = shap["additivity_error"].to_numpy() if len(shap) else np.array([])
    row = {
        "name": "local_accuracy",
        "what": "Largest |sum of Shapley values - (f(x) - base value)|; every map is held to that sum, so that an "
        "error reveals a fault",
        "unit": "probability",
        "value": float(errors.max()) if len(errors) else None,
        "low": None,
        "high": None,
        "images": int(shap["image"].nunique()) if len(errors) else 0,
        "maps": len(errors),
        "criterion": f"at most {TOLERANCE:g}",
        "verdict": (SUPPORTED if errors.max() <= TOLERANCE else REFUTED) if len(errors) else UNTESTED,
    }
    return row if len(errors) else row | {"why": f"{TITLES[SHAP]} is not among the explainers"}


def _against_controls(name: str, metric: str, ranking: dict[str, Any] | None, why: str = "") -> dict[str, Any]:
    """Shapley values against every control by a metric of the scorecard, as *score* has tested them. The value is the
    difference to the control that comes closest, negative where that control is better.

    Args:
        name: of the check.
        metric: of the scorecard.
        ranking: of *score*.
        why: reason not to test at all.
    """
    title = MEASUREMENTS[metric]
    what = f"{name.capitalize()} by {title}"
    about = {
        "name": f"{name}/{metric}",
        "what": f"{what}, {TITLES[SHAP]} against the controls",
        "value": None,
        "low": None,
        "high": None,
        "images": 0,
        "criterion": "better than every control",
    }
    tests = [] if why else tests_of(ranking, metric, SHAP)
    compared = [test for test in tests if test["difference"] is not None]  # on one image or more
    if not compared:
        why = why or ("the explainers were not scored" if ranking is None else f"it was not scored by {title}")
        return about | {"verdict": UNTESTED, "why": why}
    row = ranking["metrics"][metric]
    sign = 1 if row["direction"] == "higher is better" else -1
    closest = min(compared, key=lambda test: sign * test["difference"])
    found = by_outcome(tests)
    control = by_outcome([closest])[closest["outcome"]][0]
    ends = sorted(sign * end for end in (closest["low"], closest["high"])) if _known(closest) else (None, None)
    return about | {
        "what": f"{what}: by how much {TITLES[SHAP]} is better than {control}, the closest of {len(tests)} controls",
        "value": sign * closest["difference"],
        "low": ends[0],
        "high": ends[1],
        "images": row["n"],
        "controls": found,
        "verdict": REFUTED if found[WORSE] else SUPPORTED if not found[UNDECIDED] else OPEN,
    }


def _known(test: dict[str, Any]) -> bool:
    return all(test[end] is not None and math.isfinite(test[end]) for end in ("low", "high"))


def _mean(
    name: str, metric: Metric, values: pd.Series, ends: tuple[float, float], what: str, why: str
) -> dict[str, Any]:
    """The mean of a number a image, with its interval; without one nothing is decided.

    Args:
        ends: of the interval, NaN where there is none.
        why: there may be no images.
    """
    row = {
        "name": name,
        "what": what,
        "unit": metric.unit,
        "citation": metric.citation,
        "value": None,
        "low": None,
        "high": None,
        "images": len(values),
        "criterion": "above 0",
        "verdict": UNTESTED,
    }
    if not len(values):
        return row | {"why": why}
    mean, (low, high) = float(values.mean()), ends
    if not math.isfinite(low + high):
        few = len(values) < bootstrap.FEWEST
        takes = f"at least {bootstrap.FEWEST} images" if few else "values that differ, and all are the same"
        needed = {"images_needed": bootstrap.FEWEST} if few else {}
        return row | {"value": mean, "verdict": OPEN, "without_interval": f"an interval takes {takes}"} | needed
    verdict = _above(low, high, 0.0)
    needed = {"images_needed": _needed(len(values), mean, low, high)} if verdict == OPEN else {}
    return row | {"value": mean, "low": low, "high": high, "verdict": verdict} | needed


def _hypothesis(number: int, statement: str, checks: list[dict[str, Any]]) -> dict[str, Any]:
    found = {check["verdict"] for check in checks}
    verdict = REFUTED if REFUTED in found else found.pop() if len(found) == 1 else OPEN
    return {"number": number, "hypothesis": statement, "verdict": verdict, "checks": checks}


def sentence(check: dict[str, Any]) -> str:
    """A check in words and figures."""
    if check["value"] is None:
        return f"{check['what']}: not tested, because {check['why']}."
    value = f"{check['value']:.3g}"
    if check["low"] is not None:
        value += f" [{check['low']:.3g}, {check['high']:.3g}]"
    images = counted(check["images"])
    if "maps" in check:
        images = f"{counted(check['maps'], 'map')} of {images}"
    said = [f"{check['what']}: {value} on {images}; {check['criterion']} is {check['verdict']}"]
    if "controls" in check:
        said.append(f"it is {verdicts.against(check['controls'])}")
    if "without_interval" in check:
        said.append(check["without_interval"])
    elif check.get("images_needed"):
        said.append(f"with this mean and spread about {_round(check['images_needed']):,} images would decide it")
    return f"{'; '.join(said)}."


def _round(number: int) -> int:
    """To two digits, upwards."""
    unit = 10 ** max(0, len(str(number)) - 2)
    return -(-number // unit) * unit
