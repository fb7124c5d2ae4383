import base64
import json
import zlib

from glassbox.tracking import mlflow_view

LOGGED = ["test_accuracy", "test_brier", "deletion_auc/lime", "deletion_auc/random", "train_loss"]


def test_the_columns_that_people_compare_come_first():
    view = mlflow_view.view(LOGGED, 7, ["lime"])
    compared = ["metrics.`test_accuracy`", "metrics.`test_macro_f1`", "metrics.`test_ece`", "tags.`best_explainer`"]
    assert view["selectedColumns"][:4] == compared
    assert view["columnOrder"][2:6] == compared
    assert set(view["columnWidths"]) == set(view["columnOrder"])


def test_charts_lie_in_sections_and_what_none_shows_is_left_out():
    view = mlflow_view.view(LOGGED, 7, ["lime"])
    sections = {section["uuid"]: section["name"] for section in view["compareRunSections"]}
    charts = {chart["displayName"]: chart for chart in view["compareRunCharts"]}
    assert {chart["metricSectionId"] for chart in charts.values()} <= set(sections)
    assert len({chart["uuid"] for chart in charts.values()}) == len(view["compareRunCharts"]) == len(charts)
    deletion = charts["deletion AUC"]
    assert deletion["selectedMetricKeys"] == ["deletion_auc/lime", "deletion_auc/random"]
    assert sections[deletion["metricSectionId"]] == "Which explanation to believe"
    assert "insertion AUC" not in charts  # nobody measured it
    images = charts["Step: number of the test image"]
    assert (images["step"], images["imageKeys"]) == (7, ["explanations/image", "explanations/LIME"])
    assert charts["Loss: cross-entropy (nats)"]["selectedMetricKeys"] == ["train_loss", "validation_loss"]
    assert [name for name, chart in charts.items() if chart["deleted"] and chart["type"] == "BAR"] == [
        "deletion_auc/random", "test_brier",
    ]  # fmt: skip


def test_mlflow_unpacks_what_is_written():
    packed = mlflow_view.compressed(LOGGED, 7, ["lime"])
    head, _, content = packed.partition(";")
    assert head == "deflate"
    assert json.loads(zlib.decompress(base64.b64decode(content))) == mlflow_view.view(LOGGED, 7, ["lime"])
