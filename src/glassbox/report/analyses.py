"""The results of the three analyses, in sentences."""

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
FEW = 5  # images that have a sentence each


def recognised(
    index: pd.DataFrame, tests: pd.DataFrame, analyst: str, ranking: dict[str, Any] | None, plausible: bool = False
) -> list[str]:
    """Recognised images: is the attribution inside the true mask, if there is one, and specific to the class?
    `index` is the table of maps, `tests` that of the analysis, `analyst` the explainer whose maps are shown, `ranking`
    the content of ranking.json (None where explainers were not scored). `plausible` is whether masks are not known to
    be the truth about the model."""
    predicted = index["explained_class"] == index["predicted_class"]
    right = index[predicted & (index["true_class"] == index["predicted_class"])]
    if right.empty:
        return ["No recognised image was explained."]
    sentences = _inside(right, analyst, ranking, plausible)
    if len(tests):
        sentences.append(
            f"Blurring the regions that {TITLES[hypotheses.SHAP]} ranks first for the class changes the class's "
            f"probability by {signed(-tests['drop_own'].mean())} on average, blurring those for the next class by "
            f"{signed(-tests['drop_other'].mean())} ({counted(len(tests))})."
        )
    return sentences


def _inside(right: pd.DataFrame, analyst: str, ranking: dict[str, Any] | None, plausible: bool) -> list[str]:
    """Share of the positive attribution inside the true mask, compared with controls; nothing without masks."""
    if "relevance_mass" not in right:
        return []
    maps = right[right["explainer"] == analyst].dropna(subset=["relevance_mass"])
    if maps.empty:
        return []
    inside, area = (percent(maps[name].mean(), 0) for name in ("relevance_mass", "object_area"))
    mask = "the mask" if plausible else "the true mask"
    share = (
        f"For the predicted class of recognised images, {inside} of the positive attribution of {TITLES[analyst]} lies "
        f"inside {mask}, which covers {area} of the image (mean over {counted(maps['image'].nunique())})."
    )
    if plausible:
        return [f"{share} This is plausibility: it is not shown that the model uses what the masks mark."]
    metric = hypotheses.LOCALIZATION
    tests = hypotheses.tests_of(ranking, metric, analyst)
    if not tests:
        return [f"{share} Whether maps that ignore the model reach as much was not tested."]
    against = verdicts.against(hypotheses.by_outcome(tests))
    n = ranking["metrics"][metric]["n"]
    return [f"{share} By {MEASUREMENTS[metric]} on {n} scored images, {TITLES[analyst]} is {against}."]


def mistakes(table: pd.DataFrame, index: pd.DataFrame, analyst: str, hidden: float, n_classes: int) -> list[str]:
    """Mistakes: does blurring the regions that favour the wrong class, a share `hidden` of the image, correct them?
    `table` is that of the analysis, `index` that of the maps, `analyst` the explainer whose maps are shown. With two
    classes, evidence for one is evidence against the other by definition."""
    rows = table[table["explainer"] == analyst]
    if rows.empty:
        return ["No mistake was explained."]
    summary = (
        f"Blurring the regions that by {TITLES[analyst]} speak most for the predicted and least for the true class "
        f"({percent(hidden, 0)} of the image) corrects {rows['corrected'].sum()} of {len(rows)} mistakes; blurring "
        f"random regions corrects {percent(rows['corrected_at_random'].mean(), 0)}."
    )
    agreement = rows["agreement"].dropna()
    if len(agreement) and n_classes > 2:
        summary += (
            " Between the maps of the two classes, the values of the regions have a rank correlation of "
            f"{signed(agreement.mean())} (mean over {counted(len(agreement))})."
        )
    shap = index[index["explainer"] == "kernel_shap"].set_index(["image", "explained_class"])
    sentences = [summary]
    for row in rows.head(FEW).itertuples():
        sums = ""
        if len(shap):
            predicted, true = (_sums(shap.loc[(row.image, name)]) for name in (row.predicted_class, row.true_class))
            sums = (
                f"the Shapley values for {row.predicted_class} sum to {predicted}, those for {row.true_class} to "
                f"{true}; "
            )
        sentences.append(
            f"Image {row.image} ({row.true_class}, taken for {row.predicted_class}): {sums}after blurring, the "
            f"probability of {row.true_class} is {row.p_true_after:.2f} instead of {row.p_true:.2f}."
        )
    return sentences


def _sums(values: pd.Series) -> str:
    """The sums of a map's positive and of its negative Shapley values."""
    _, evidence_for, evidence_against, _ = adding_up(*values[list(SUM)])
    return f"+{evidence_for:.2f} and {MINUS}{evidence_against:.2f}"


def pairs(table: pd.DataFrame, analyst: str, n_classes: int) -> list[str]:
    """Confusable pairs: do the same regions speak for both classes? `table` is that of the analysis, `analyst` the
    explainer whose maps are shown."""
    rows = table[table["explainer"] == analyst]
    if rows.empty:
        return ["No confusable pair was explained."]
    if n_classes == 2:
        return ["There are two classes: what speaks for one speaks against the other by definition."]
    sentences = []
    for (a, b), part in rows.groupby(["a_class", "b_class"], sort=False):
        agreement = part["agreement"].dropna()
        if agreement.empty:
            sentences.append(f"{a} and {b}: no map ranks the regions, so there is nothing to compare.")
            continue
        each = listed([signed(value) for value in agreement])
        images = counted(len(agreement))
        sentences.append(f"{a} and {b} ({images}): rank correlation of the regions' values for the two classes {each}.")
    meaning = (
        "Below 0, regions that speak for one class tend to speak against the other; above 0, they tend to speak for "
        "both. These are single images, not a test."
    )
    return [*sentences, meaning]
