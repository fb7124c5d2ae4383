"""The three hypotheses of the ResNet-50 paper as checks with numbers, on whatever the study trained and explained.

The paper looks at three pictures and finds all three supported. Here each check has a criterion. A map that ignores the
model does not meet those of the second hypothesis: it does not add up to the prediction, it is the same for every
class, and it is a control itself. Class discrimination is measured on the recognised images that were drawn at random,
correction on the mistakes drawn at random; images that the user chose and those of confusable pairs do not count.
Faithfulness and localization are tested by *score*, against its controls. Without true masks, or if it is not shown
that the model uses what they mark, there is no test of localization.
"""

import math
from typing import Any

import numpy as np
import pandas as pd

from glassbox.core.seeds import derive
from glassbox.core.text import counted
from glassbox.explainers.catalog import TITLES, TOLERANCE
from glassbox.report.study import Study
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
PLAUSIBLE = "it is not shown that the model uses what the masks mark"
QUANTILES = 1.96, 0.84  # of the normal distribution: for 95 % intervals, and for a power of 80 %


def check(study: Study) -> list[dict[str, Any]]:
    """The hypotheses, each with its number, statement, verdict and checks.

    A check has a value with its interval, the number of images, a criterion and a verdict. Value and interval are None
    where there was nothing to measure (`why` gives the reason). The interval alone is None where there are too few
    images, or all values are equal (`without_interval`). A check against controls lists them by outcome in `controls`.
    Any other undecided check has `images_needed`: see `_needed`, or the smallest number that has an interval.

    A hypothesis is supported if all its checks are, not supported if any is not, not tested if none of them was tested,
    and undecided otherwise.
    """
    seed = study.params.study.seed
    title = TITLES[study.analyst]
    shap = study.index[study.index["explainer"] == SHAP]
    drawn = study.recognised[study.recognised["group"] == "correct"]
    specific = (drawn["drop_own"] - drawn["drop_other"]).astype(float)
    judged = study.mistakes[(study.mistakes["explainer"] == study.analyst) & (study.mistakes["group"] == "mistake")]
    corrected = (judged["corrected"] - judged["corrected_at_random"]).astype(float)
    discrimination = _mean(
        "class_discrimination",
        DISCRIMINATION,
        specific,
        bootstrap.interval(specific.to_numpy(), derive(seed, "report", "class_discrimination")),
        "How much more the class's probability falls without the regions that Shapley values rank first for it than "
        "without those that they rank first for the next class",
        "no recognised image that was drawn has Shapley values of its class and the next",
    )
    correction = _mean(
        "correction",
        CORRECTION,
        corrected,
        paired.share_interval(corrected.to_numpy()),
        f"Share of the mistakes that turn right without the regions that {title} names, beyond that without random "
        "regions",
        "no mistake was explained",
    )
    no_masks = PLAUSIBLE if study.plausible else "" if study.card["has_masks"] else NO_MASKS
    explanations = [
        _additivity(shap if study.panels is None else study.panels),
        *(_against_controls("faithfulness", metric, study.ranking) for metric in FAITHFULNESS),
        discrimination,
        _against_controls("localization", LOCALIZATION, study.ranking, why=no_masks),
    ]
    return [
        _hypothesis(
            1,
            "The network gets more of the test images right than the target accuracy.",
            [_accuracy(study.metrics, study.params.evaluate.target_accuracy)],
        ),
        _hypothesis(
            2,
            "SHAP's explanations are locally accurate and class-discriminative, and point at the object.",
            explanations,
        ),
        _hypothesis(3, "Explanations of mistakes find what misled the network.", [correction]),
    ]


def by_outcome(tests: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Titles of the controls that an explainer was tested against (the rows of `tests_of`), by outcome."""
    return verdicts.by_outcome(tests, untrained="itself on an untrained network")


def tests_of(ranking: dict[str, Any] | None, metric: str, explainer: str) -> list[dict[str, Any]]:
    """Rows of ranking.json that test an explainer against the controls by a metric; none where it was not scored."""
    row = (ranking or {}).get("metrics", {}).get(metric, {})
    return [test for test in row.get("controls", ()) if test["explainer"] == explainer]


def _needed(images: int, distance: float, low: float, high: float) -> int | None:
    """About how many images would decide a check with a power of 80 %, if mean and spread stayed as they are: the width
    of an interval falls with the square root of the number of images behind it. The distance is mean - bound; at
    0 no number would do, and the result is None."""
    if distance == 0:
        return None
    factor = sum(QUANTILES) / QUANTILES[0]
    return math.ceil(images * (factor * (high - low) / 2 / distance) ** 2)


def _values(images: int = 0, value: float | None = None, low: float | None = None, high: float | None = None) -> dict:
    return {"value": value, "low": low, "high": high, "images": images}


def _decided(row: dict[str, Any], bound: float) -> dict[str, Any]:
    """A check with its verdict by whether the interval lies above or below a bound."""
    images, value, low, high = (row[name] for name in ("images", "value", "low", "high"))
    if low > bound or high < bound:
        return row | {"verdict": SUPPORTED if low > bound else REFUTED}
    return row | {"verdict": OPEN, "images_needed": _needed(images, value - bound, low, high)}


def _accuracy(metrics: dict[str, Any], target: float) -> dict[str, Any]:
    numbers = (metrics[name] for name in ("images", "accuracy", "accuracy_low", "accuracy_high"))
    row = {"name": "accuracy", "what": "Share of the test images that are recognised", "unit": "share, 0..1"}
    return _decided(row | _values(*numbers) | {"criterion": f"above {target:g}"}, target)


def _additivity(shap: pd.DataFrame) -> dict[str, Any]:
    row = {
        "name": "local_accuracy",
        "what": "Largest |sum of Shapley values - (f(x) - base value)|; every map is held to that sum, so that an "
        "error reveals a fault",
        "unit": "probability",
        **_values(),
        "maps": len(shap),
        "criterion": f"at most {TOLERANCE:g}",
    }
    if shap.empty:
        return row | {"verdict": UNTESTED, "why": f"{TITLES[SHAP]} is not among the explainers"}
    largest = float(shap["additivity_error"].max())
    verdict = SUPPORTED if largest <= TOLERANCE else REFUTED
    return row | _values(int(shap["image"].nunique()), largest) | {"verdict": verdict}


def _against_controls(name: str, metric: str, ranking: dict[str, Any] | None, why: str = "") -> dict[str, Any]:
    """Shapley values against every control by a metric of the scorecard, as *score* has tested it. The value is its
    advantage over the closest control, negative where that control is better. The name is what the metric measures;
    `why` may be a reason not to test at all."""
    title = MEASUREMENTS[metric]
    what = f"{name.capitalize()} by {title}"
    row = {
        "name": f"{name}/{metric}",
        "what": f"{what}, {TITLES[SHAP]} against the controls",
        **_values(),
        "criterion": "better than every control",
    }
    tests = [] if why else tests_of(ranking, metric, SHAP)
    compared = [test for test in tests if test["difference"] is not None]  # on one image or more
    if not compared:
        why = why or ("the explainers were not scored" if ranking is None else f"it was not scored by {title}")
        return row | {"verdict": UNTESTED, "why": why}
    scored = ranking["metrics"][metric]
    sign = 1 if scored["direction"] == "higher is better" else -1
    closest = min(compared, key=lambda test: sign * test["difference"])
    controls = by_outcome(tests)
    control = by_outcome([closest])[closest["outcome"]][0]
    ends = [closest[end] for end in ("low", "high")]
    has_interval = all(end is not None and math.isfinite(end) for end in ends)
    ends = sorted(sign * end for end in ends) if has_interval else (None, None)
    return row | {
        "what": f"{what}: by how much {TITLES[SHAP]} is better than {control}, the closest of {len(tests)} controls",
        **_values(scored["n"], sign * closest["difference"], *ends),
        "controls": controls,
        "verdict": REFUTED if controls[WORSE] else SUPPORTED if not controls[UNDECIDED] else OPEN,
    }


def _mean(
    name: str, metric: Metric, values: pd.Series, ends: tuple[float, float], what: str, why: str
) -> dict[str, Any]:
    """The mean of one number per image, with the ends of its interval: NaN where there is none, and then nothing is
    decided. `why` is the reason why there may be no images."""
    row = {"name": name, "what": what, "unit": metric.unit, "citation": metric.citation}
    row |= _values(len(values)) | {"criterion": "above 0"}
    if values.empty:
        return row | {"verdict": UNTESTED, "why": why}
    mean = float(values.mean())
    if np.isfinite(ends).all():
        return _decided(row | _values(len(values), mean, *ends), 0.0)
    row |= {"value": mean, "verdict": OPEN}
    if len(values) >= bootstrap.FEWEST:
        return row | {"without_interval": "an interval takes values that differ, and all are the same"}
    takes = f"an interval takes at least {bootstrap.FEWEST} images"
    return row | {"without_interval": takes, "images_needed": bootstrap.FEWEST}


def _hypothesis(number: int, statement: str, checks: list[dict[str, Any]]) -> dict[str, Any]:
    verdicts_of = {check["verdict"] for check in checks}
    verdict = REFUTED if REFUTED in verdicts_of else verdicts_of.pop() if len(verdicts_of) == 1 else OPEN
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
    clauses = [f"{check['what']}: {value} on {images}; {check['criterion']} is {check['verdict']}"]
    if "controls" in check:
        clauses.append(f"it is {verdicts.against(check['controls'])}")
    if "without_interval" in check:
        clauses.append(check["without_interval"])
    elif check.get("images_needed"):
        needed = _two_digits(check["images_needed"])
        clauses.append(f"with this mean and spread about {needed:,} images would decide it")
    return f"{'; '.join(clauses)}."


def _two_digits(number: int) -> int:
    """Rounded upwards to two significant digits."""
    unit = 10 ** max(0, len(str(number)) - 2)
    return -(-number // unit) * unit
