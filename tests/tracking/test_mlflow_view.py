import base64
import json
import zlib

from glassbox.tracking import mlflow_view

LOGGED = ["test_accuracy", "test_brier", "deletion_auc/lime", "deletion_auc/random", "train_loss"]
LOGGED += ["deletion_auc/strongest_control"]
VIEW = mlflow_view.view(LOGGED, 7, ["lime"])


def test_the_columns_that_people_compare_come_first():
    compared = ["metrics.`test_accuracy`", "metrics.`test_macro_f1`", "metrics.`test_ece`", "tags.`best_explainer`"]
    assert VIEW["selectedColumns"][:4] == compared
    assert VIEW["columnOrder"][2:6] == compared
    assert set(VIEW["columnWidths"]) == set(VIEW["columnOrder"])


def test_charts_lie_in_sections_and_what_none_shows_is_left_out():
    sections = {section["uuid"]: section["name"] for section in VIEW["compareRunSections"]}
    charts = {chart["displayName"]: chart for chart in VIEW["compareRunCharts"]}
    assert {chart["metricSectionId"] for chart in charts.values()} <= set(sections)
    assert len({chart["uuid"] for chart in charts.values()}) == len(VIEW["compareRunCharts"]) == len(charts)
    deletion = charts["deletion AUC"]
    assert deletion["selectedMetricKeys"] == ["deletion_auc/lime", "deletion_auc/strongest_control"]
    assert sections[deletion["metricSectionId"]] == "Which explanation to believe"
    assert "insertion AUC" not in charts  # it was not measured
    images = charts["Step: number of the test image"]
    assert (images["step"], images["imageKeys"]) == (7, ["explanations/image", "explanations/LIME"])
    assert charts["Loss: cross-entropy (nats)"]["selectedMetricKeys"] == ["train_loss", "validation_loss"]
    deleted = [name for name, chart in charts.items() if chart["deleted"] and chart["type"] == "BAR"]
    assert deleted == ["deletion_auc/random", "deletion_auc/strongest_control", "test_accuracy", "test_brier"]
    assert (charts["The scorecard"]["imageKeys"], charts["The scorecard"]["step"]) == (["scorecard"], 0)


def test_the_view_is_written_in_mlflows_compressed_form():
    head, _, content = mlflow_view.compressed(LOGGED, 7, ["lime"]).partition(";")
    assert head == "deflate"
    assert json.loads(zlib.decompress(base64.b64decode(content))) == VIEW
