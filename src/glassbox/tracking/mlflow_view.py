"""The arrangement of MLflow's page of a study: columns of the table of runs, and charts. It has the format of MLflow's
shared views, is stored in a tag of the experiment, and `make ui` opens it. Imports nothing heavy."""

import base64
import json
import zlib
from collections.abc import Iterable
from typing import Any

from glassbox.explainers.catalog import EXPLAINERS, STRONGEST, TITLES
from glassbox.xai_metrics.catalog import MEASUREMENTS

IMAGES = "explanations"  # prefix of the keys of logged images
SCORECARD = "scorecard"  # key of the figure of that name
# Columns of the table of runs with their widths in pixels, the most important ones first. MLflow always shows those of
# FIXED, and the duration; by default they and Models stand before all metrics.
FIXED, LAST = {"attributes.`Run Name`": 320, "runDateAndNestInfo": 135}, {"duration": 90, "attributes.`Models`": 90}
COLUMNS = {
    "metrics.`test_accuracy`": 110,
    "metrics.`test_macro_f1`": 110,
    "metrics.`test_ece`": 100,
    "tags.`best_explainer`": 330,
    "tags.`changed`": 230,
}
RATES = {  # charts of the first section: the test images
    "test_error_percent": "Test error (%)",
    "test_balanced_error_percent": "Balanced error (%)",
    "test_ece_percent": "Calibration error (ECE, %)",
    "test_log_loss": "Log loss (nats)",
}
CURVES = {  # charts of the second section: epoch by epoch
    "Loss: cross-entropy (nats)": ("train_loss", "validation_loss"),
    "Accuracy": ("train_accuracy", "validation_accuracy"),
    "Learning rate": ("learning_rate",),
}


def image_key(explainer: str) -> str:
    """The key of an explainer's maps: its title without brackets, which MLflow refuses."""
    return f"{IMAGES}/{TITLES[explainer].translate(str.maketrans('', '', '()'))}"


def view(logged: Iterable[str], image: int, explainers: Iterable[str]) -> dict[str, Any]:
    """The view in the format of MLflow 3.

    Args:
        logged: every metric of a row. MLflow would add a chart for each one that has none here; these are marked as
            deleted, and can be restored from its menu.
        image: number of the test image whose explanations are shown first.
        explainers: names of the explainers whose maps are shown.
    """
    logged = list(logged)
    charts: list[dict[str, Any]] = []
    sections = []

    def section(name: str, **layout: int) -> str:
        uuid = f"section-{len(sections)}"
        common = {"uuid": uuid, "name": name, "display": True, "isReordered": True, "deleted": False}
        sections.append(common | layout)
        return uuid

    def chart(section_id: str, name: str, kind: str, **settings: Any) -> None:
        common = {"type": kind, "runsCountToCompare": 10, "metricSectionId": section_id, "deleted": False}
        charts.append(common | {"isGenerated": False, "uuid": f"chart-{len(charts)}", "displayName": name} | settings)

    section_id = section("How well it does", columns=2, cardHeight=300)
    for metric, title in RATES.items():
        chart(section_id, title, "BAR", metricKey=metric)
    section_id = section("Training, epoch by epoch", columns=1, cardHeight=360)
    for title, metrics in CURVES.items():
        chart(
            section_id,
            title,
            "LINE",
            metricKey=metrics[0],
            selectedMetricKeys=list(metrics),
            lineSmoothness=0,
            xAxisKey="step",
            xAxisScaleType="linear",
            scaleType="linear",
            range={},
            selectedXAxisMetricKey="",
            yAxisKey="metric",
            yAxisExpressions=[],
            useGlobalXaxisKey=False,
            useGlobalLineSmoothing=False,
        )
    section_id = section("Which explanation to believe", columns=1, cardHeight=420)
    chart(section_id, "The scorecard", "IMAGE", imageKeys=[SCORECARD], step=0, showRunParams=False)
    for metric, title in MEASUREMENTS.items():
        if keys := [key for name in (*EXPLAINERS, STRONGEST) if (key := f"{metric}/{name}") in logged]:
            chart(section_id, title, "BAR", metricKey=keys[0], selectedMetricKeys=keys)
    section_id = section("Explanations, image by image", columns=2, cardHeight=800)
    keys = [f"{IMAGES}/image", *(image_key(name) for name in explainers)]
    chart(section_id, "Step: number of the test image", "IMAGE", imageKeys=keys, step=image, showRunParams=False)
    drawn = {settings.get("metricKey") for settings in charts}
    for name in sorted(set(logged) - drawn):
        chart(sections[0]["uuid"], name, "BAR", metricKey=name, deleted=True)
    for name in (SCORECARD, *keys):
        chart(section_id, name, "IMAGE", imageKeys=[name], deleted=True)
    return {
        "selectedColumns": [*COLUMNS, "attributes.`Models`"],
        "columnOrder": [*(FIXED | COLUMNS | LAST)],
        "columnWidths": FIXED | COLUMNS | LAST,
        "compareRunCharts": charts,
        "compareRunSections": sections,
        "isAccordionReordered": True,
        "hideEmptyCharts": True,
        "runsHiddenMode": "FIRST_10_RUNS",
        "searchFilter": "tags.kind = 'study'",
    }


def compressed(logged: Iterable[str], image: int, explainers: Iterable[str]) -> str:
    """The view as the content of a tag; see `view`."""
    content = json.dumps(view(logged, image, explainers)).encode()
    return "deflate;" + base64.b64encode(zlib.compress(content, 9)).decode()
