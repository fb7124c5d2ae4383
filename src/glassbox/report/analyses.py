"""What the three analyses found, in words."""

from typing import Any

import pandas as pd

from glassbox.core.text import MINUS, counted, listed
from glassbox.explainers.captions import adding_up
from glassbox.explainers.catalog import TITLES
from glassbox.report import hypotheses
from glassbox.report.words import percent, signed
from glassbox.scoring import verdicts
from glassbox.xai_metrics.catalog import MEASUREMENTS

SUM = ("base_value", "evidence_for", "evidence_against")  # columns of Shapley values that add up to a probability
FEW = 5  # single images that are told in words


def recognised(index: pd.DataFrame, tests: pd.DataFrame, analyst: str, ranking: dict[str, Any] | None) -> list[str]:
    """Does what speaks for the class speak for it alone, and, where the source has true masks, does it lie inside them?

    Args:
        index: one row a map.
        tests: the analysis of recognised images.
        analyst: the explainer whose maps are shown.
        ranking: of *score*; None where explainers were not scored.
    """
    right = index[
        (index["true_class"] == index["predicted_class"]) & (index["explained_class"] == index["predicted_class"])
    ]
    if right.empty:
        return ["No recognised image was explained."]
    said = _inside(right, analyst, ranking)
    if len(tests):
        said.append(
            f"Blurring the regions that {TITLES[hypotheses.SHAP]} ranks first for the class changes the class's "
            f"probability by {signed(-tests['drop_own'].mean())} on average, blurring those for the next class by "
            f"{signed(-tests['drop_other'].mean())} ({counted(len(tests))})."
        )
    return said


def _inside(right: pd.DataFrame, analyst: str, ranking: dict[str, Any] | None) -> list[str]:
    """How much of the positive attribution lies inside the true mask, and whether controls have as much; nothing where
    the source has no masks."""
    own = right[right["explainer"] == analyst]
    if "relevance_mass" not in right or own["relevance_mass"].isna().all():
        return []
    own = own.dropna(subset=["relevance_mass"])
    inside, area = (percent(own[name].mean(), 0) for name in ("relevance_mass", "object_area"))
    said = (
        f"Of the positive attribution of {TITLES[analyst]} for the class of a recognised image {inside} lies inside "
        f"the true mask, which covers {area} of the image (mean of {counted(own['image'].nunique())})."
    )
    metric = hypotheses.LOCALIZATION
    tests = hypotheses.tests_of(ranking, metric, analyst)
    if not tests:
        return [f"{said} Whether maps that ignore the model have as much was not tested."]
    against = verdicts.against(hypotheses.by_outcome(tests))
    n = ranking["metrics"][metric]["n"]
    return [f"{said} By {MEASUREMENTS[metric]} on {n} scored images {TITLES[analyst]} is {against}."]


def mistakes(found: pd.DataFrame, index: pd.DataFrame, analyst: str, hidden: float, n_classes: int) -> list[str]:
    """What spoke for the wrong class, and what against the right one?

    Args:
        found: the analysis of mistakes.
        index: one row a map.
        analyst: the explainer whose maps are shown.
        hidden: share of the image that was blurred.
        n_classes: of two, what speaks for one speaks against the other by definition.
    """
    own = found[found["explainer"] == analyst]
    if own.empty:
        return ["No mistake was explained."]
    said = [
        f"With {percent(hidden, 0)} of the image blurred, the regions that {TITLES[analyst]} names as speaking most "
        f"for the class chosen and least for the true one, {own['corrected'].sum()} of {len(own)} mistakes turn right; "
        f"with random regions {percent(own['corrected_at_random'].mean(), 0)} do."
    ]
    ranked = own["agreement"].dropna()
    if len(ranked) and n_classes > 2:
        said[0] += (
            " The maps of the class chosen and of the true one agree on the order of the regions with a rank "
            f"correlation of {signed(ranked.mean())}, on average over {counted(len(ranked))}."
        )
    shap = index[index["explainer"] == "kernel_shap"].set_index(["image", "explained_class"])
    for row in own.head(FEW).itertuples():
        line = f"Image {row.image}, {row.true_class}, taken for {row.predicted_class}"
        if len(shap):
            (_, plus, minus, _), (_, right_plus, right_minus, _) = (
                adding_up(*shap.loc[(row.image, name), list(SUM)]) for name in (row.predicted_class, row.true_class)
            )
            line += (
                f": regions worth +{plus:.2f} spoke for {row.predicted_class} and {MINUS}{minus:.2f} against it; "
                f"+{right_plus:.2f} for {row.true_class} and {MINUS}{right_minus:.2f} against it"
            )
        said.append(
            f"{line}. Without the named regions {row.true_class} goes from {row.p_true:.2f} to {row.p_true_after:.2f}."
        )
    return said


def pairs(found: pd.DataFrame, analyst: str, n_classes: int) -> list[str]:
    """How do two classes that are confused differ?

    Args:
        found: the analysis of pairs.
        analyst: the explainer whose maps are shown.
        n_classes: of two, what speaks for one speaks against the other by definition.
    """
    own = found[found["explainer"] == analyst]
    if own.empty:
        return ["No confusable pair was explained."]
    if n_classes == 2:
        return ["There are two classes: what speaks for one speaks against the other by definition."]
    said = []
    for (a, b), part in own.groupby(["a_class", "b_class"], sort=False):
        ranked = part["agreement"].dropna()
        if ranked.empty:
            said.append(f"{a} and {b}: no map ranks the regions, so there is nothing to compare.")
            continue
        each = listed([signed(value) for value in ranked])
        said.append(f"{a} and {b}, {counted(len(ranked))}: rank correlation of the regions for either class {each}.")
    what = "Below 0 the regions that speak for one class tend to speak against the other, above 0 to speak for both."
    return [*said, f"{what} These are single images, not a test."]
