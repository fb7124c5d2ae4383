import json
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from glassbox import files, report
from glassbox.analyses import MISTAKES, PAIRS, RECOGNISED
from glassbox.errors import UserError

NAMES = ("cat <b>", "dog")


def scorecard() -> pd.DataFrame:
    """LIME, also at the common number of evaluations and on an untrained network, Grad-CAM, and two controls."""
    subjects = [("lime", "explainer"), ("grad_cam", "explainer"), ("random", "control"), ("edges", "control"),
                ("lime", "untrained"), ("lime", "matched")]  # fmt: skip
    rows = []
    for name, kind in subjects:
        about = {"explainer": name, "kind": kind}
        for metric, direction, n in (("deletion_auc", "lower is better", 7), ("emprt", "unranked", 0)):
            for setting in ("mean", "blur"):
                rows.append(
                    about | {"metric": metric, "setting": setting, "ranks": setting == "mean", "direction": direction,
                             "property": "faithfulness", "unit": "", "n": n, "mean": 0.5 if n else np.nan,
                             "low": 0.4 if n else np.nan, "high": 0.6 if n else np.nan}
                )  # fmt: skip
        rows.append(
            about | {"metric": "model_evaluations", "setting": "", "ranks": False, "property": "cost",
                     "direction": "lower is better", "unit": "", "n": 7, "mean": 20.0, "low": 1, "high": 3}
        )  # fmt: skip
    return pd.DataFrame(rows)


RANKING = {
    "metrics": {
        "deletion_auc": {
            "citation": "Petsiuk <2018>", "direction": "lower is better", "mean_ranks": {"lime": 1.0, "grad_cam": 2.0},
            "settings": {"mean": {"lime": 1.0, "grad_cam": 2.0}, "blur": {"grad_cam": 1.5, "lime": 1.5}},
            "kendall": {"mean / blur": 0.25},
        }
    },
    "emprt": {"lime": {"100 bins": True}, "grad_cam": {"100 bins": True, "50 bins": False}},
    "verdicts": ["Deletion AUC: LIME beats every control; Grad-CAM does not beat |x|."],
}  # fmt: skip
COSTS = {"milliseconds": 2.5, "peak_memory": 0.25}
TIMING = {
    "explainer": {"lime": COSTS, "grad_cam": COSTS}, "control": {"random": COSTS, "edges": COSTS},
    "untrained": {"lime": COSTS}, "matched": {"lime": COSTS},
}  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    """The files of a small finished study."""
    reports, model = tmp_path / "reports", tmp_path / "models"
    duplicates = {"groups": 0, "also_in_another_split": {"test": 0}, "dropped_from_training": 0}
    card = {"source": "toy", "digest": "d" * 64, "image_size": 8, "sizes": {"train": 6, "validation": 2, "test": 2},
            "classes": NAMES, "images_per_class": {"train": [3, 3], "validation": [1, 1], "test": [1, 1]},
            "channel_mean": [0.5] * 3, "channel_std": [0.2] * 3, "images_skipped": [], "has_masks": False,
            "images_unreadable": {"count": 0, "files": []},
            "duplicates": duplicates}  # fmt: skip
    files.write_json(reports / "prepare/card.json", card)
    files.write_json(
        reports / "tune/best.json", {"trial": 1, "validation_accuracy": 0.9, "trials": 2, "epochs": 5, "params": {}}
    )
    files.write_csv(reports / "tune/trials.csv", pd.DataFrame({"trial": [0, 1], "state": ["pruned", "complete"]}))
    choices = [{"key": "train.learning_rate", "value": 0.001, "source": "tune, trial 1"},
               {"key": "train.rho", "value": None, "source": "not used"}]  # fmt: skip
    counts = {"total": 12, "trainable": 10, "non_trainable": 2}
    files.write_json(model / "model.json", {"name": "cnn", "parameters": counts, "choices": choices,
                                            "layers": [{"name": "conv", "kind": "Conv2d", "shape": "2 x 8 x 8",
                                                        "parameters": 12, "trainable": 10}]})  # fmt: skip
    best = {
        "best_epoch_validation_loss": 0.3,
        "best_epoch_validation_accuracy": 0.9,
        "best_epoch_weight_penalty": 0.05,
        "best_epoch": 2,
        "epochs": 3,
    }
    files.write_json(reports / "train/metrics.json", best)
    files.write_csv(reports / "train/curves.csv", pd.DataFrame({"epoch": [1, 2], "train_loss": [0.5, 0.4]}))
    names = ("accuracy", "accuracy_low", "accuracy_high", "macro_precision", "macro_recall", "macro_f1", "log_loss",
             "brier", "ece", "temperature", "calibrated_ece")  # fmt: skip
    files.write_json(reports / "evaluate/metrics.json", dict.fromkeys(names, 0.5) | {"images": 2, "mistakes": 1})
    files.write_csv(reports / "evaluate/classification_report.csv", pd.DataFrame(
        {"class": [*NAMES, "macro average"], "precision": 0.5, "recall": 0.5, "f1": 0.5,
         "support": [1, 1, 2]}))  # fmt: skip
    files.write_csv(reports / "evaluate/confused_pairs.csv", pd.DataFrame(
        {"a_class": [NAMES[0]], "b_class": [NAMES[1]], "a_as_b": [1], "b_as_a": [0]}))  # fmt: skip
    index = {"map": [0, 1], "image": 5, "explainer": ["kernel_shap", "random"], "true_class": NAMES[1],
             "predicted_class": NAMES[1], "explained_class": NAMES[1], "group": "correct",
             "relevance_mass": [0.75, 0.5], "object_area": 0.5, "additivity_error": [1e-6, np.nan]}  # fmt: skip
    files.write_csv(reports / "explain/index.csv", pd.DataFrame(index))
    for name, columns in (("recognised", RECOGNISED), ("mistakes", MISTAKES), ("pairs", PAIRS)):
        files.write_csv(reports / f"explain/{name}.csv", pd.DataFrame(columns=columns))
    files.write_csv(reports / "score/scorecard.csv", scorecard())
    files.write_json(reports / "score/ranking.json", RANKING)
    files.write_json(reports / "score/gate.json", {"checks": [], "refusal": None})
    files.write_json(reports / "score/timing.yaml", TIMING)
    pictures = ("prepare/samples", "tune/history", "tune/trials", "tune/parallel_coordinates", "train/curves",
                "evaluate/confusion_matrix", "evaluate/reliability", "evaluate/mistakes", "score/scorecard",
                "score/faithfulness_and_cost", "score/randomization", "score/ranks/deletion_auc",
                "explain/figures/00-correct-5", "explain/figures/01-mistake-9", "explain/analyses/recognised",
                "explain/analyses/panels/00-correct-5")  # fmt: skip
    for name in pictures:
        (reports / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(reports / f"{name}.png")
    return tmp_path


@pytest.fixture
def study(folder, params):
    return report.read(params, folder / "reports", folder / "models")


class Page(HTMLParser):
    """What a page refers to, and whether its elements close."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.sources, self.alternatives, self.anchors, self.ids, self.open = [], [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.sources += [values[key] for key in ("src", "href") if key in values]
        self.ids += [values["id"]] if "id" in values else []
        self.alternatives += [values.get("alt")] if tag == "img" else []
        if tag not in ("meta", "img", "link", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_needs_no_network_and_every_link_has_its_target(study):
    page = Page(report.page(study))
    assert page.open == []
    for source in page.sources:
        assert source.startswith("data:image/png;base64,") or source.removeprefix("#") in page.ids
    assert all(page.alternatives)
    assert not re.search(r"https?://|@import|<script", report.page(study))


def test_the_page_says_what_the_files_say(study):
    text = report.page(study)
    assert "50.00 %" in text
    assert "0.001" in text
    assert "tune, trial 1" in text
    assert "cat &lt;b&gt;" in text
    assert "cat <b>" not in text
    assert 'alt="Recognised, test image 5"' in text
    assert "none was asked for" in text  # no pairs
    assert "Chosen" not in text
    assert "No image occurs twice" in text
    assert "12 parameters, 10 of them trainable" in text
    assert "2 x 8 x 8" in text


def test_the_page_tells_the_three_analyses_and_the_hypotheses(study):
    text = " ".join(report.page(study).split())
    assert (
        "Of what KernelSHAP finds for the class of a recognised image, 75 % lies where the object probably is" in text
    )
    assert "No mistake was explained." in text
    assert "No confusable pair was explained." in text
    assert "on images changed at random" not in text
    study.metrics["augmented_accuracy"] = 0.4321
    assert "<dt>on images changed at random</dt><dd>43.21 %</dd>" in report.page(study)
    assert report.headline(study)["test_augmented_accuracy"] == 0.4321
    assert 'alt="KernelSHAP&#39;s maps of recognised images; outlined where the object is estimated to be"' in text
    assert "KernelSHAP class by class, test image 5" in text
    assert "KernelSHAP class by class, test image 9" not in text  # it has no panel
    assert "2. SHAP&#39;s explanations are locally accurate" in text
    assert "and point at the object. <em>not tested</em>" in text
    assert "so that an error tells of a fault: 1e-06 on 1 image; at most 0.001 is supported." in text
    first, second, third = report.hypotheses_of(study)
    assert (first["verdict"], second["verdict"], third["verdict"]) == ("not supported", "not tested", "not tested")


def test_the_page_says_how_stable_lime_is(folder, params, study):
    assert study.stability is None
    assert "How stable LIME is" not in report.page(study)
    rows = {"image": [5, 5, 9, 9], "samples": [300, 1000, 300, 1000], "rank_agreement": [0.1, 0.2, 0.72, 0.8]}
    table = pd.DataFrame(rows | {"top_overlap": [0.1, 0.2, 0.3, 0.4], "top_overlap_by_chance": 0.15, "local_r2": 0.5})
    files.write_csv(folder / "reports/explain/lime_stability.csv", table)
    Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(folder / "reports/explain/lime_stability.png")
    lime = params.explain.lime.model_copy(update={"samples": 400})  # nearest to 300
    params = params.model_copy(update={"explain": params.explain.model_copy(update={"lime": lime})})
    study = report.read(params, folder / "reports", folder / "models")
    said = " ".join(report.page(study).replace("</p>", "").split())
    assert "With 300 samples two seeds agree on the order of the regions with a rank correlation of 0.41" in said
    assert "share 20 % of the 5 strongest regions (15 % by chance); the study itself takes 400" in said.replace(
        "</p>", ""
    )
    headline = report.headline(study)
    assert headline["rank_agreement/lime"] == pytest.approx((0.1 + 0.72) / 2)
    assert headline["top_overlap/lime"] == pytest.approx(0.2)


def test_without_a_search_the_page_says_so(folder, params):
    empty = {"trial": None, "validation_accuracy": None, "trials": 0, "epochs": 0, "params": {}}
    files.write_json(folder / "reports/tune/best.json", empty)
    for name in ("history", "trials", "parallel_coordinates"):
        (folder / f"reports/tune/{name}.png").unlink()
    study = report.read(params, folder / "reports", folder / "models")
    assert "No search: every hyperparameter was given." in report.page(study)
    assert "best_validation_accuracy" not in report.headline(study)


def test_a_missing_file_is_named(folder, params):
    (folder / "reports/evaluate/metrics.json").unlink()
    with pytest.raises(UserError, match=r"evaluate/metrics.json is missing: 'dvc repro' makes it"):
        report.read(params, folder / "reports", folder / "models")


def test_summary_and_headline(study):
    summary = report.summary(study)
    shown = json.loads(json.dumps(summary))["score"]
    assert shown == {name: {"deletion_auc": 0.5} for name in ("lime", "grad_cam", "random")}
    assert "seconds" not in json.dumps(summary)
    row = report.headline(study)
    assert row["test_accuracy"] == 0.5
    assert row["deletion_auc/grad_cam"] == 0.5
    assert "deletion_auc/edges" not in row
    assert row["best_validation_accuracy"] == 0.9


def test_the_table_of_explainers(study):
    lime, cam, random, edges = report.explainer_table(study)
    assert [row["title"] for row in (lime, cam, random, edges)] == ["LIME", "Grad-CAM", "random", "Sobel edges"]
    assert [row["control"] for row in (lime, cam, random, edges)] == [False, False, True, True]
    assert lime["deletion_auc"] == "0.500 [0.400, 0.600]"
    assert (lime["milliseconds"], lime["model_evaluations"]) == (2.5, 20)
    assert lime["matched"] == {"model_evaluations": 20, "deletion_auc": "0.500 [0.400, 0.600]", "emprt": ""}
    assert cam["matched"] is random["matched"] is None
    assert (lime["emprt_passes"], cam["emprt_passes"], random["emprt_passes"]) == (True, False, None)
    assert report.columns(study) == {"against the controls": {"deletion_auc": "deletion AUC ↓"}, "further": {}}


def test_the_page_says_which_explanation_to_believe(study):
    text = " ".join(report.page(study).split())
    assert "LIME beats every control; Grad-CAM does not beat |x|." in text
    assert "mean: LIME 1.0, Grad-CAM 2.0; blur: Grad-CAM 1.5, LIME 1.5." in text
    assert "mean / blur 0.25" in text
    assert "Petsiuk &lt;2018&gt;. Lower is better." in text
    assert "with at most 640 evaluations a map" in text
    assert "The evidence was planted" not in text
    assert "The shortcut" not in text


def test_the_page_says_why_explainers_are_not_scored(folder, params):
    checks = [{"name": "accuracy", "value": 0.5, "limit": "at least 0.99", "passed": False}]
    files.write_json(folder / "reports/score/gate.json", {"checks": checks, "refusal": "Explainers are not scored."})
    files.write_json(folder / "reports/score/timing.yaml", {})
    for name in ("scorecard.csv", "ranking.json"):
        (folder / "reports/score" / name).unlink()
    study = report.read(params, folder / "reports", folder / "models")
    text = " ".join(report.page(study).split())
    assert "<li>Explainers are not scored.</li>" in text
    assert "<td>0.5000</td><td>at least 0.99</td><td>no</td>" in text
    assert report.summary(study)["score"] == {}
    assert report.explainer_table(study) == []
    assert "not scored" in report.description(study)


def test_the_page_tells_of_a_shortcut(folder, params):
    told = {"target": 0, "arms": [], "gate": [], "contrast": None, "verdicts": ["The network loses 20 %."]}
    files.write_json(folder / "reports/score/shortcut.json", told)
    study = report.read(params, folder / "reports", folder / "models")
    assert report.verdicts(study)[-1] == "The network loses 20 %."
    assert "The shortcut" in report.page(study)


def test_the_description_for_mlflow(study):
    text = report.description(study)
    assert "test accuracy **50.00 %** (95 % interval 50.00 to 50.00)" in text
    assert "| train.learning_rate | 0.001 | tune, trial 1 |" in text
    assert "train.rho" not in text
    assert len(text) < 8000  # MLflow cuts longer tags
