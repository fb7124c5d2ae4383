import base64
import html
import io
import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from PIL import Image

from glassbox import cli as commands
from glassbox.core import files
from glassbox.core.errors import UserError
from glassbox.core.text import MINUS
from glassbox.evaluation import chance_level
from glassbox.evaluation.classification import classification_report
from glassbox.explainers.catalog import CONTROLS
from glassbox.explaining.analyses import MISTAKES, PAIRS, RECOGNISED
from glassbox.provenance import fingerprint, record
from glassbox.report import card as cards
from glassbox.report import contents
from glassbox.report import study as study_of
from glassbox.report.page import cases, matrix, outcomes, standings
from glassbox.report.pictures import map_uri, uri
from glassbox.scoring import scorecard as scorecards
from glassbox.scoring import verdicts
from glassbox.statistics.outcomes import OUTCOMES

NAMES = ("cat <b>", "dog")
# Ten test images, of each class five; one cat is taken for a dog.
TRUE = np.array([0] * 4 + [1] * 5 + [0])
GUESSED = np.array([0] * 4 + [1] * 6)
SURE = [0.6, 0.9, 0.8, 0.7, 0.95, 0.85, 0.75, 0.65, 0.55, 0.99]
PREDICTIONS = pd.DataFrame(
    {"image": range(10), "source_index": range(10), "true_class": [NAMES[k] for k in TRUE],
     "predicted_class": [NAMES[k] for k in GUESSED], "confidence": SURE}
    | {f"p({name})": [p if guess == k else 1 - p for guess, p in zip(GUESSED, SURE, strict=True)]
       for k, name in enumerate(NAMES)}
)  # fmt: skip
IMAGES = np.random.default_rng(0).integers(0, 256, (10, 8, 8, 3), dtype=np.uint8)


def scorecard() -> pd.DataFrame:
    """LIME, also at the common number of evaluations and on an untrained network, Grad-CAM, and two controls."""
    subjects = [("lime", "explainer"), ("grad_cam", "explainer"), ("random", "control"), ("edges", "control"),
                ("lime", "untrained"), ("lime", "matched")]  # fmt: skip
    rows = []
    for name, kind in subjects:
        about = {"explainer": name, "kind": kind}
        for metric, direction, n in (("deletion_auc", "lower is better", 11), ("emprt", "unranked", 0)):
            for setting in ("mean", "blur"):
                rows.append(
                    about | {"metric": metric, "setting": setting, "ranks": setting == "mean", "direction": direction,
                             "property": "faithfulness", "unit": "", "n": n, "mean": 0.5 if n else np.nan,
                             "low": 0.4 if n else np.nan, "high": 0.6 if n else np.nan}
                )  # fmt: skip
        for cost, mean in (("forward_passes", 20.0), ("backward_passes", 10.0)):
            rows.append(
                about | {"metric": cost, "setting": "", "ranks": False, "property": "cost",
                         "direction": "lower is better", "unit": "", "n": 11, "mean": mean, "low": 1, "high": 3}
            )  # fmt: skip
    return pd.DataFrame(rows)


def against(explainer: str, control: str, outcome: str) -> dict:
    """A comparison by a metric of which less is better."""
    difference = {"better": -0.25, "worse": 0.125, "undecided": -0.03125}[outcome]
    return {
        "explainer": explainer,
        "control": control,
        "n": 11,
        "difference": difference,
        "low": difference - 0.0625,
        "high": difference + 0.0625,
        "p": 0.5,
        "p_holm": 0.5,
        "outcome": outcome,
    }


def against_all(explainer: str, **outcomes: str) -> list[dict]:
    """An explainer with all controls and itself on an untrained network: better, where nothing else is said."""
    names = [*CONTROLS, f"untrained {explainer}"]
    return [against(explainer, name, outcomes.get(name.partition(" ")[0], "better")) for name in names]


def emprt_of(*outcomes: str) -> dict:
    settings = dict(zip(("100 bins", "50 bins"), outcomes, strict=False))
    rows = {name: {"n": 4, "outcome": outcome} for name, outcome in settings.items()}
    return {"settings": rows, "outcome": outcomes[0] if len(set(outcomes)) == 1 else "mixed"}


PAIR = {"a": "lime", "b": "grad_cam", "outcome": "better"}
RANKING = {
    "tests": 18, "level": 0.05, "fewest": 10, "outcomes": {"better": 11, "worse": 1, "undecided": 2},
    "metrics": {
        "deletion_auc": {
            "property": "faithfulness", "direction": "lower is better", "unit": "", "citation": "Petsiuk <2018>",
            "setting": "mean", "n": 11, "decidable": True, "ranked": 11,
            "mean_ranks": {"lime": 1.0, "grad_cam": 2.0}, "cliques": [], "pairs": [PAIR],
            "controls": against_all("lime")
            + against_all("grad_cam", edges="worse", brightness="undecided", untrained="undecided"),
            "reversed": [],
            "settings": {"mean": {"lime": 1.0, "grad_cam": 2.0}, "blur": {"grad_cam": 1.5, "lime": 1.5}},
            "kendall": {"mean / blur": 0.25}, "matched": {"lime": 1.0},
            "power": {"detectable": 0.04, "undecided": 2, "needed": 400},
        }
    },
    "emprt": {"lime": emprt_of("better"), "grad_cam": emprt_of("better", "undecided")},
    "baselines": {"black": 0.61, "mean": 0.02, "blur": 0.2},
    "constant_maps": {"lime": {"constant": 0, "images": 14}, "grad_cam": {"constant": 3, "images": 14},
                      "random": {"constant": 0, "images": 14}, "edges": {"constant": 1, "images": 14}},
}  # fmt: skip
RANKING["verdicts"] = verdicts.sentences(RANKING)
DELETION = (  # of its verdicts
    "Deletion AUC: LIME is better than every control; Grad-CAM is better than random, smooth random, random regions "
    "and centred Gaussian, worse than Sobel edges, undecided against |x| and its own map of an untrained network. (11 "
    "images find a typical difference of 0.04 four times in five; half of the 2 undecided would take about 400.)"
)
WHY = "Temperature scaling is not used: on 2 validation images nothing is known."
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
            "images_unreadable": {"count": 0, "files": []}, "masks": None, "groups": None,
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
                                            "contradictions": ["model.normalization is data: the weights *W* want ."],
                                            "layers": [{"name": "conv", "kind": "Conv2d", "shape": "2 x 8 x 8",
                                                        "parameters": 12, "trainable": 10}]})  # fmt: skip
    best = {
        "best_epoch_validation_loss": 0.3,
        "best_epoch_validation_accuracy": 0.9,
        "best_epoch_validation_balanced_accuracy": 0.85,
        "best_epoch_weight_penalty": 0.05,
        "best_epoch": 2,
        "epochs": 3,
    }
    files.write_json(reports / "train/metrics.json", best)
    files.write_csv(reports / "train/curves.csv", pd.DataFrame({"epoch": [1, 2], "train_loss": [0.5, 0.4]}))
    files.write_json(reports / "train/timing.yaml", {"machine": {"device": "cpu", "threads": 2}})
    names = ("accuracy", "accuracy_low", "accuracy_high", "macro_precision", "macro_recall", "macro_f1", "macro_f1_low",
             "macro_f1_high", "log_loss", "brier", "ece", "log_loss_as_trained", "brier_as_trained", "ece_as_trained",
             "ece_by_chance", "temperature")  # fmt: skip
    files.write_json(
        reports / "evaluate/metrics.json",
        dict.fromkeys(names, 0.5) | {"images": 10, "mistakes": 1} | chance_level.measure(TRUE, GUESSED, NAMES, 0.95),
    )
    files.write_json(reports / "evaluate/calibration.json", {"temperature": 1.0, "scaling_used": False, "reason": WHY})
    files.write_csv(reports / "evaluate/classification_report.csv", classification_report(TRUE, GUESSED, NAMES, 0.95))
    files.write_csv(reports / "evaluate/predictions.csv", PREDICTIONS)
    files.write_csv(reports / "evaluate/confused_pairs.csv", pd.DataFrame(
        {"a_class": [NAMES[0]], "b_class": [NAMES[1]], "a_as_b": [1], "b_as_a": [0]}))  # fmt: skip
    index = {"map": [0, 1], "image": 5, "explainer": ["kernel_shap", "random"], "true_class": NAMES[1],
             "predicted_class": NAMES[1], "explained_class": NAMES[1], "group": "correct",
             "additivity_error": [1e-6, np.nan],
             "base_value": [0.25, np.nan], "all_zero": False, "drawn": True, "squares": False}  # fmt: skip
    files.write_csv(reports / "explain/index.csv", pd.DataFrame(index))
    maps = np.linspace(-1, 1, 2 * 8 * 8, dtype=np.float32).reshape(2, 8, 8)
    files.write_npz(reports / "explain/attributions.npz", {"maps": maps, "images": IMAGES[5:6]})
    for name, columns in (("recognised", RECOGNISED), ("mistakes", MISTAKES), ("pairs", PAIRS)):
        files.write_csv(reports / f"explain/{name}.csv", pd.DataFrame(columns=columns))
    files.write_csv(reports / "score/scorecard.csv", scorecard())
    files.write_json(reports / "score/ranking.json", RANKING)
    files.write_json(reports / "score/gate.json", {"checks": [], "refusal": None})
    files.write_json(reports / "score/timing.yaml", TIMING)
    pictures = ("prepare/samples", "tune/history", "tune/trials", "tune/parallel_coordinates", "train/curves",
                "evaluate/confusion_matrix", "evaluate/reliability", "evaluate/mistakes", "score/scorecard",
                "score/outcomes", "score/faithfulness_and_cost", "score/randomization", "score/ranks/deletion_auc",
                "explain/analyses/recognised")  # fmt: skip
    for name in pictures:
        (reports / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(reports / f"{name}.png")
    return tmp_path


@pytest.fixture
def study(folder, params):
    return study_of.read(params, folder / "reports", folder / "models")


def decoded(source: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))).convert("RGB"))


def page(study: study_of.Study) -> str:
    return contents.index_page(study, IMAGES, "0123456789abcdef")


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
    text = page(study)
    parsed = Page(text)
    assert parsed.open == []
    assert len(set(parsed.ids)) == len(parsed.ids)
    for source in parsed.sources:
        assert source.startswith(("data:image/png;base64,", "data:image/webp;base64,")) or source[1:] in parsed.ids
    assert all(parsed.alternatives)
    assert not re.search(r"https?://|@import|<script[^>]", text)


def test_the_page_says_what_the_files_say(study):
    text = page(study)
    assert "50.00 %" in text
    assert "0.001" in text
    assert "tune, trial 1" in text
    assert "cat &lt;b&gt;" in text
    assert "cat <b>" not in text
    assert 'id="case-5"' in text
    assert 'alt="Shapley values (superpixels), for dog"' in text
    assert "base 0.25, sums to f(x)" in text
    assert "Chosen by you" not in text
    assert "No image occurs twice" in text
    assert "12 parameters, 10 of them trainable" in text
    assert "2 x 8 x 8" in text


def test_the_page_tells_the_three_analyses_and_the_hypotheses(study):
    text = " ".join(page(study).split())
    assert "Recognised: is what speaks for the class particular to it?" in text
    assert "No mistake was explained." in text
    assert "No confusable pair was explained." in text
    assert "on images changed at random" not in text
    study.metrics["augmented_accuracy"] = 0.4321
    assert "<dt>on images changed at random</dt><dd>43.21 %</dd>" in page(study)
    assert contents.headline(study)["test_augmented_accuracy"] == 0.4321
    assert 'alt="Shapley values (superpixels): maps of recognised images"' in text
    assert "Shapley values (superpixels) class by class" not in text
    assert "2. SHAP&#39;s explanations are locally accurate" in text
    assert "and point at the object. <em>undecided</em>" in text
    assert "so that an error reveals a fault: 1e-06 on 1 map of 1 image; at most 0.001 is supported." in text
    assert "Shapley values (superpixels) against the controls: not tested, because the data have no true masks." in text
    first, second, third = contents.hypotheses_of(study)
    assert (first["verdict"], second["verdict"], third["verdict"]) == ("not supported", "undecided", "not tested")


def test_the_page_tells_of_true_masks_where_there_are_any(folder, params):
    card = files.read_json(folder / "reports/prepare/card.json")
    files.write_json(folder / "reports/prepare/card.json", card | {"has_masks": True})
    index = files.read_csv(folder / "reports/explain/index.csv").assign(relevance_mass=[0.75, 0.5], object_area=0.5)
    files.write_csv(folder / "reports/explain/index.csv", index)
    text = page(study_of.read(params, folder / "reports", folder / "models"))
    assert "Recognised: does what speaks for the class lie inside the true mask?" in text
    assert "75 % lies inside the true mask, which covers 50 % of the image (mean of 1 image)." in text
    assert 'alt="Shapley values (superpixels): maps of recognised images; outlined is the true mask"' in text
    assert "(superpixels) against the controls: not tested, because it was not scored by excess relevance mass." in text


def test_the_page_says_where_a_baseline_is_the_background(study):
    said = "The baseline of Integrated Gradients is black, and 61 % of the pixels of the scored images have that colour"
    assert said in page(study)
    study.ranking["baselines"] = {"black": 0.1}
    assert said not in page(study)


def test_the_page_says_how_stable_lime_is(folder, params, study):
    assert study.stability is None
    assert "How stable LIME is" not in page(study)
    rows = {"image": [5, 5, 9, 9], "samples": [300, 1000, 300, 1000], "rank_agreement": [0.1, 0.2, 0.72, 0.8]}
    table = pd.DataFrame(rows | {"top_overlap": [0.1, 0.2, 0.3, 0.4], "top_overlap_by_chance": 0.15, "local_r2": 0.5})
    files.write_csv(folder / "reports/explain/lime_stability.csv", table)
    Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(folder / "reports/explain/lime_stability.png")
    lime = params.explain.lime.model_copy(update={"samples": 400})  # nearest to 300
    params = params.model_copy(update={"explain": params.explain.model_copy(update={"lime": lime})})
    study = study_of.read(params, folder / "reports", folder / "models")
    said = " ".join(page(study).replace("</p>", "").split())
    assert "With 300 samples two seeds agree on the order of the regions with a rank correlation of 0.41" in said
    assert (
        "share 20 % of the 5 strongest regions (15 % by chance; means over 2 images); the study itself takes 400"
        in said.replace("</p>", "")
    )
    headline = contents.headline(study)
    assert headline["rank_agreement/lime"] == pytest.approx((0.1 + 0.72) / 2)
    assert headline["top_overlap/lime"] == pytest.approx(0.2)


def test_maps_without_an_r2_are_left_out_of_its_mean_and_said(study):
    assert "local_r2/lime" not in contents.headline(replace(study, index=study.index.assign(local_r2=np.nan)))
    some = study.index.assign(local_r2=[0.5, np.nan])
    headline = contents.headline(replace(study, index=some))
    assert (headline["local_r2/lime"], headline["local_r2_maps/lime"]) == (0.5, 1)
    lime = study.index.assign(explainer=["lime", "random"], local_r2=np.nan, additivity_error=np.nan, all_zero=True)
    (shown,) = cases(replace(study, index=lime))[0]["explained"][0]["maps"]
    assert shown["note"] == "no R²: the class's probability\ndoes not vary near the image"


def test_without_a_search_the_page_says_so(folder, params):
    empty = {"trial": None, "validation_accuracy": None, "trials": 0, "epochs": 0, "params": {}}
    files.write_json(folder / "reports/tune/best.json", empty)
    for name in ("history", "trials", "parallel_coordinates"):
        (folder / f"reports/tune/{name}.png").unlink()
    study = study_of.read(params, folder / "reports", folder / "models")
    assert "No search: every hyperparameter was given." in page(study)
    assert "best_validation_accuracy" not in contents.headline(study)


def test_a_missing_file_is_named(folder, params):
    (folder / "reports/evaluate/metrics.json").unlink()
    with pytest.raises(UserError, match=r"evaluate/metrics.json is missing: 'dvc repro' makes it"):
        study_of.read(params, folder / "reports", folder / "models")


def test_summary_and_headline(study):
    summary = json.loads(json.dumps(contents.summary(study)))
    assert list(summary) == ["test_accuracy", "test_accuracy_low", "test_accuracy_high", "test_balanced_accuracy",
                             "test_majority_share", "test_macro_f1", "test_ece", "test_log_loss", "against_majority",
                             "best_epoch", "best_explainer"]  # fmt: skip
    assert (summary["test_balanced_accuracy"], summary["test_majority_share"]) == (0.9, 0.5)
    assert summary["against_majority"] == "undecided"  # 5 images only the model recognises, 1 only the rule
    assert (summary["test_accuracy"], summary["best_explainer"]) == (0.5, study.best_explainer)
    row = contents.headline(study)
    assert {key: value for key, value in row.items() if key.startswith("deletion_auc/")} == {
        f"deletion_auc/{name}": 0.5 for name in ("lime", "grad_cam", "random")
    }
    assert row["test_accuracy"] == 0.5
    assert (row["test_balanced_accuracy"], row["test_majority_share"]) == (0.9, 0.5)
    assert "test_balanced_accuracy_low" not in row  # five images of each class are too few
    assert row["deletion_auc/grad_cam"] == 0.5
    assert "deletion_auc/edges" not in row
    assert row["best_validation_accuracy"] == 0.9
    assert {key: value for key, value in row.items() if key.startswith("controls_")} == {
        "controls_better/lime": 7,
        "controls_worse/lime": 0,
        "controls_undecided/lime": 0,
        "controls_better/grad_cam": 4,
        "controls_worse/grad_cam": 1,
        "controls_undecided/grad_cam": 2,
    }


def test_what_the_accuracy_is_worth_stands_beside_it(folder, params, study, monkeypatch, capsys):
    sentence = (
        "It is not shown to do better than always answering cat <b>, 50.0 % of the test images (McNemar's exact test, "
        "p = 0.22: 5 images only the model recognises, 1 only that rule)."
    )
    few = "no interval: cat <b> has 5 images, and it takes 8 of each class"
    shown = html.unescape(" ".join(page(study).split()))
    assert shown.count(sentence) >= 2  # in short, and where the results are
    assert f'<dt>balanced accuracy</dt><dd>90.00 %</dd><dd class="small">mean of the classes\' recalls; {few}' in shown
    assert "<dt>always the largest class</dt><dd>50.00 %</dd>" in shown
    assert "cat <b>; the model is not told apart from that" in shown
    for text in (cards.card(study), contents.description(study, "d" * 64)):
        assert sentence in text.replace("\\", "")
        assert f"balanced accuracy 90.00 % ({few})" in text.replace("\\", "")
    files.write_json(folder / "reports/score/gate.json", {"checks": [], "refusal": "Nothing is scored."})
    shutil.copy(ROOT / "params.yaml", folder)
    monkeypatch.chdir(folder)
    for stage in fingerprint.STAGES:
        record.seal(f"reports/{stage}", "params.yaml")
    commands.summary()
    said = capsys.readouterr().out
    assert f"  balanced       90.00 % ({few})\n  largest class  50.00 %  (cat <b>)\n" in said
    assert f"  {sentence}\n" in said


def test_groups_masks_and_balanced_training_are_said(folder, params, study):
    assert "groups, of which none is in two splits" not in page(study)
    assert "treat images as independent" not in cards.card(study)
    card = files.read_json(folder / "reports/prepare/card.json")
    groups = {"count": 7, "by_split": {"train": 4, "validation": 1, "test": 2}}
    masks = {"test_images": 1, "by_class": [1, 0]}
    files.write_json(folder / "reports/prepare/card.json", card | {"groups": groups, "masks": masks})
    best = files.read_json(folder / "reports/tune/best.json") | {"validation_balanced_accuracy": 0.8}
    files.write_json(folder / "reports/tune/best.json", best)
    train = params.train.model_copy(update={"class_weights": "balanced"})
    study = study_of.read(params.model_copy(update={"train": train}), folder / "reports", folder / "models")
    shown = " ".join(page(study).split())
    assert (
        "twice. The images come in 7 groups, of which none is in two splits (4 train, 1 validation, 2 test)." in shown
    )
    assert "1 of 2 test images have a mask that is not empty" in shown
    assert "with 80.00 % validation balanced accuracy." in shown
    assert "so that all K classes counted the same" in shown
    assert contents.headline(study)["best_validation_balanced_accuracy"] == 0.8
    assert "the 2 test images come in 2 groups: they are too narrow" in cards.card(study)


def test_the_table_of_explainers(study):
    lime, cam, random, edges = contents.explainer_table(study)
    assert [row["title"] for row in (lime, cam, random, edges)] == ["LIME", "Grad-CAM", "random", "Sobel edges"]
    assert [row["control"] for row in (lime, cam, random, edges)] == [False, False, True, True]
    assert lime["deletion_auc"] == "0.500 [0.400, 0.600]"
    assert (lime["milliseconds"], lime["forward_passes"], lime["backward_passes"]) == (2.5, 20, 10)
    assert lime["matched"] == {"forward_passes": 20, "deletion_auc": "0.500 [0.400, 0.600]", "emprt": ""}
    assert cam["matched"] is random["matched"] is None
    assert [row["constant_maps"] for row in (lime, cam, random, edges)] == ["0 of 14", "3 of 14", "0 of 14", "1 of 14"]
    assert [row["emprt_outcome"] for row in (lime, cam, random)] == ["passes", "depends on the bins", ""]
    assert contents.columns(study) == {"against the controls": {"deletion_auc": "deletion AUC ↓"}, "further": {}}


def test_the_page_says_which_explanation_to_believe(study):
    text = " ".join(page(study).split())
    assert DELETION in text
    assert "mean: LIME 1.0, Grad-CAM 2.0; blur: Grad-CAM 1.5, LIME 1.5." in text
    assert "mean / blur 0.25" in text
    assert "Petsiuk &lt;2018&gt;. Lower is better." in text
    assert "with at most 320 forward passes a map" in text
    assert "The evidence was planted" not in text
    assert "The shortcut" not in text


def test_the_ranking_of_these_tests_has_the_form_that_score_writes():
    rng, parts = np.random.default_rng(0), []
    for kind, names in (
        ("explainer", ("lime", "grad_cam")),
        ("control", CONTROLS),
        ("untrained", ("lime", "grad_cam")),
    ):
        for name in names:
            about = {
                "explainer": name,
                "kind": kind,
                "image": range(12),
                "forward_passes": 1.0,
                "backward_passes": 0.0,
                "constant_map": False,
            }
            scores = {f"deletion_auc[{setting}]": rng.normal(size=12) for setting in ("mean", "blur")}
            parts.append(pd.DataFrame(about | scores | {"emprt[100 bins]": 0.5}))
    made, here = scorecards.rank(pd.concat(parts), seed=0), RANKING
    assert set(here) - set(made) == {"baselines", "verdicts"}
    assert set(made) <= set(here)
    one, other = made["metrics"]["deletion_auc"], here["metrics"]["deletion_auc"]
    assert set(one) == set(other)
    assert set(one["controls"][0]) == set(other["controls"][0])
    assert {test["control"] for test in one["controls"]} == {test["control"] for test in other["controls"]}
    assert set(other["pairs"][0]) <= set(one["pairs"][0])
    assert set(one["power"]) == set(other["power"])
    assert set(made["emprt"]["lime"]) == set(here["emprt"]["lime"])
    assert set(made["constant_maps"]["lime"]) == set(here["constant_maps"]["lime"])


def sentences_of(text: str) -> list[str]:
    return re.split(r"(?<=[.!?])\s+(?=[A-Z0-9])", text)


def test_the_study_in_three_sentences_whose_numbers_stand_in_the_table_under_them(study):
    accuracy, claims = study.opening
    assert accuracy == (
        "The classifier recognises 50.00 % of 10 test images (95 % interval 50.00 % to 50.00 %); always answering cat "
        "<b> recognises 50.00 %."
    )
    first, best = sentences_of(claims)
    assert first == ("14 comparisons of an explainer with a control on 11 images: 11 better, 1 worse, 2 undecided.")
    assert best == "LIME is better than every control by 1 of 1 measures."
    table = standings(study.ranking)
    cells = [cell for row in table["rows"] for cell in row["cells"] if cell]
    counts = {what: sum(cell[what] for cell in cells) for what in OUTCOMES}
    numbers = [int(number) for number in re.findall(r"\d+", first)]
    assert numbers == [sum(counts.values()), 11, *(counts[what] for what in OUTCOMES)]
    assert table["titles"] == ["deletion AUC (n = 11)"]
    of_all = {row["title"]: sum(cell["better"] == sum(cell.values()) for cell in row["cells"]) for row in table["rows"]}
    assert of_all == {"LIME": 1, "Grad-CAM": 0}
    text = html.unescape(" ".join(page(study).split()))
    assert f'<p class="short">{accuracy} {claims}</p>' in text
    shown = text[text.index('<table class="outcomes"><caption>How many of its controls') :]
    shown = shown[: shown.index("</table>")]
    for what in OUTCOMES:  # on the page as well, class by class
        assert sum(map(int, re.findall(rf'<span class="{what}">(\d+) {what}</span>', shown))) == counts[what]
    assert "corrected for all 18 tests of this report" in shown


def test_nothing_is_said_of_explainers_in_short_where_they_are_not_scored(folder, params):
    files.write_json(folder / "reports/score/gate.json", {"checks": [], "refusal": "Explainers are not scored."})
    study = study_of.read(params, folder / "reports", folder / "models")
    assert study.opening[1:] == ["Explainers are not scored."]
    assert '<table class="outcomes">' not in page(study)


def test_every_comparison_with_a_control_stands_in_its_cell(study):
    table = outcomes(study.ranking)["deletion_auc"]
    assert table["columns"] == [*CONTROLS.values(), "itself untrained"]
    assert [row["title"] for row in table["rows"]] == ["LIME", "Grad-CAM"]
    for row, name in zip(table["rows"], ("lime", "grad_cam"), strict=True):
        keys = [*CONTROLS, f"untrained {name}"]
        assert [(test["explainer"], test["control"]) for test in row["cells"]] == [(name, key) for key in keys]
    text = " ".join(page(study).split())
    for outcome, shown, n in (
        ("better", "-0.250 [-0.312, -0.188]", 11),
        ("worse", "+0.125 [+0.062, +0.188]", 1),
        ("undecided", "-0.031 [-0.094, +0.031]", 2),
    ):
        assert text.count(f'<td class="{outcome}">{outcome}<small>{shown}, n = 11</small></td>') == n
    study.ranking["metrics"]["deletion_auc"]["controls"].pop()  # Grad-CAM was not compared with itself untrained
    assert outcomes(study.ranking)["deletion_auc"]["rows"][1]["cells"][-1] is None
    assert "<td></td></tr>" in " ".join(page(study).split())


def test_an_interval_that_there_is_not_is_not_shown(folder, params):
    ranking = json.loads(json.dumps(RANKING))
    for test in ranking["metrics"]["deletion_auc"]["controls"]:
        test |= {"low": None, "high": None}
    ranking["metrics"]["deletion_auc"]["controls"][0]["difference"] = None  # no image has scores of both
    files.write_json(folder / "reports/score/ranking.json", ranking)
    files.write_csv(folder / "reports/score/scorecard.csv", scorecard().assign(low=np.nan, high=np.nan))
    metrics = files.read_json(folder / "reports/evaluate/metrics.json")
    few = "cat <b> has only 5 test images, and it takes 10 of each class"
    none = {"macro_f1_low": None, "macro_f1_high": None, "macro_f1_without_interval": few}
    files.write_json(folder / "reports/evaluate/metrics.json", metrics | none)
    study = study_of.read(params, folder / "reports", folder / "models")
    text = html.unescape(" ".join(page(study).split()))
    assert "<small>-0.250, n = 11</small>" in text
    assert "<small>, n = 11</small>" in text
    assert contents.explainer_table(study)[0]["deletion_auc"] == "0.500"
    assert f'<dt>macro F1</dt><dd>0.500</dd><dd class="small">no interval: {few}</dd>' in text
    assert r"macro F1 0.500 (no interval: cat \<b\> has only 5 test images, " in cards.card(study)
    for said in (text, cards.card(study), contents.description(study, "d" * 64), *study.opening):
        assert not re.search(r"\bnan\b|\bNone\b", said)


def test_a_metric_without_ranks_has_no_section_of_ranks(study):
    assert "<summary>Ranks by deletion AUC</summary>" in page(study)
    study.ranking["metrics"]["deletion_auc"] |= {"decidable": False, "mean_ranks": {}, "settings": {}, "kendall": {}}
    text = page(study)
    assert "Ranks by" not in text
    assert "<summary>Differences with intervals, deletion AUC</summary>" in text


def test_the_page_says_why_explainers_are_not_scored(folder, params):
    checks = [{"name": "accuracy", "value": 0.5, "limit": "at least 0.99", "passed": False}]
    files.write_json(folder / "reports/score/gate.json", {"checks": checks, "refusal": "Explainers are not scored."})
    files.write_json(folder / "reports/score/timing.yaml", {})
    for name in ("scorecard.csv", "ranking.json"):
        (folder / "reports/score" / name).unlink()
    study = study_of.read(params, folder / "reports", folder / "models")
    text = " ".join(page(study).split())
    assert "<li>Explainers are not scored.</li>" in text
    assert "<td>0.5000</td><td>at least 0.99</td><td>no</td>" in text
    assert contents.summary(study)["best_explainer"] == "Not scored."
    assert contents.explainer_table(study) == []
    assert "Explainers are not scored." in contents.description(study, "0123456789abcdef")
    assert study.best_explainer == "Not scored."


def test_the_page_tells_of_a_shortcut(folder, params):
    told = {"target": 0, "arms": [], "gate": [], "contrast": None, "verdicts": ["The network loses 20 %."]}
    files.write_json(folder / "reports/score/shortcut.json", told)
    study = study_of.read(params, folder / "reports", folder / "models")
    assert study.verdicts[-1] == "The network loses 20 %."
    assert "The shortcut" in page(study)


def test_the_description_for_mlflow(study):
    text = contents.description(study, "0123456789abcdef")
    assert "test accuracy **50.00 %** (95 % interval 50.00 to 50.00)" in text
    assert "| train.learning_rate | 0.001 | tune, trial 1 |" in text
    assert "train.rho" not in text
    assert "make verify RUN=012345678`" in text
    assert len(text) < 8000  # MLflow cuts longer tags


def test_the_cells_of_the_confusion_matrix_show_their_images(study):
    cats, dogs = matrix(study, IMAGES)
    assert [cell["count"] for cell in cats["cells"] + dogs["cells"]] == [4, 1, 0, 5]
    assert [cell["share"] for cell in cats["cells"]] == [0.8, 0.2]
    assert [image["row"] for image in cats["cells"][0]["images"]] == [0, 3, 2, 1]  # the least sure first
    assert [image["row"] for image in cats["cells"][1]["images"]] == [9]
    assert [image["row"] for image in dogs["cells"][1]["images"]] == [8, 7, 6, 5, 4]
    assert [image["explained"] for image in dogs["cells"][1]["images"]] == [False, False, False, True, False]
    assert np.array_equal(decoded(cats["cells"][1]["images"][0]["image"]), IMAGES[9])
    text = " ".join(page(study).split())
    assert 'aria-label="cat &lt;b&gt; taken for dog: 1"' in text
    assert 'href="#case-5"' in text


def test_with_many_classes_the_confusion_matrix_is_a_picture(study, monkeypatch):
    monkeypatch.setattr("glassbox.report.page.MOST_CLASSES", 1)
    text = page(study)
    assert 'alt="Confusion matrix"' in text
    assert 'class="matrix"' not in text


def test_every_explained_image_has_its_maps_and_probabilities(study):
    (case,) = cases(study)
    assert (case["row"], case["group"], case["truth"], case["guess"], case["file"]) == (
        5,
        "correct",
        "dog",
        "dog",
        None,
    )
    assert np.array_equal(decoded(case["image"]), IMAGES[5])
    assert [(p["class"], p["p"], p["guess"], p["truth"]) for p in case["probabilities"]] == [
        ("dog", 0.85, True, True), (NAMES[0], pytest.approx(0.15), False, False),
    ]  # fmt: skip
    (explained,) = case["explained"]
    assert explained["class"] == "dog"
    assert [(m["title"], m["note"]) for m in explained["maps"]] == [
        ("Shapley values (superpixels)", "base 0.25, sums to f(x)")
    ]
    assert (
        decoded(explained["maps"][0]["map"])[0, 0, 2] > decoded(explained["maps"][0]["map"])[0, 0, 0]
    )  # blue: against
    assert [key for key, *_ in contents.browsable(study)] == [
        "explanations/Shapley values superpixels",
        "explanations/image",
    ]
    study.index.loc[0, "additivity_error"] = 0.5
    assert [key for key, *_ in contents.browsable(study)] == ["explanations/image"]
    (shown,) = cases(study)[0]["explained"][0]["maps"]
    assert (shown["map"], shown["note"]) == (None, "not shown: sums to f(x) ± 0.5")


def test_kernel_shaps_maps_of_many_classes_share_a_scale(folder, params):
    with np.load(folder / "reports/explain/attributions.npz") as arrays:
        kept = dict(arrays)
    panels = np.stack([np.full((8, 8), 0.5), np.full((8, 8), 0.25)]).astype(np.float32)
    files.write_npz(folder / "reports/explain/attributions.npz", kept | {"panels": panels})
    rows = {"map": [0, 1], "image": 5, "explained_class": NAMES, "probability": [0.85, 0.15], "base_value": 0.5,
            "evidence_for": 0.4, "evidence_against": -0.05, "additivity_error": [1e-6, 0.5],
            "empty_class": NAMES[1], "empty_probability": 0.625, "shown": [True, False]}  # fmt: skip
    files.write_csv(folder / "reports/explain/panels.csv", pd.DataFrame(rows))
    study = study_of.read(params, folder / "reports", folder / "models")
    first, second = cases(study)[0]["panels"]
    assert second["map"] is None
    assert (first["class"], second["note"]) == (NAMES[0], "not shown: sums to f(x) ± 0.5")
    assert f"the most probable class is then {NAMES[1]} (0.62)" in page(study)
    assert first["map"] == map_uri(IMAGES[5], np.ones((8, 8)))
    assert f"0.50 + 0.40 {MINUS} 0.05 = 0.85" in page(study)


def test_the_page_stays_small(study):
    """64 images of 224 pixels by eight explainers, for two classes each: the limit is 15 MiB."""
    noise = np.random.default_rng(0)
    image, values = noise.integers(0, 256, (224, 224, 3), dtype=np.uint8), noise.normal(size=(224, 224))  # the worst
    one = len(uri(image)) + 16 * len(map_uri(image, values))
    assert 64 * one < 13 * 2**20


def test_the_model_card(study):
    text = cards.card(study)
    for part in (
        "Model",
        "Intended use",
        "Data",
        "Metrics",
        "Calibration",
        "Reliability of its explanations",
        "Limits",
    ):
        assert f"## {part}\n" in text
    assert r"| cat \<b\> | 1.000 [0.510, 1.000] | 0.800 [0.376, 0.964] | 0.889 [0.546, 0.982] | 5 |" in text
    assert "It does worst on cat \\<b\\>: 80.00 % of its 5 test images are recognised" in text
    assert "2 of 2 classes have fewer than 100 test images" in text
    assert r"undecided against \|x\| and its own map of an untrained network" in text
    assert WHY in text
    assert "Brier score 0.500 as trained; 1 mistakes." in text
    shown = " ".join(page(study).split())
    assert '<td style="text-align:left">cat &lt;b&gt;</td>' in shown
    assert "<h3>Intended use</h3>" in shown


def test_calibration_is_said_once_with_both_numbers_named(study, params):
    def said(**changes):
        study.calibration.update(changes)
        return " ".join(page(study).split()), cards.card(study)

    numbers = {
        "ece": 0.021,
        "ece_as_trained": 0.052,
        "ece_by_chance": 0.03,
        "log_loss": 0.1,
        "log_loss_as_trained": 0.2,
    }
    study.metrics.update(numbers, brier=0.3, brier_as_trained=0.4)
    bins = params.evaluate.calibration_bins
    shown, card = said()
    for text in (shown, card):
        assert WHY in text
        assert f"2.1 % as trained (10 test images in {bins} bins)" in text
        assert "5.2 %" not in text
    assert '<dt>calibration error (ECE)</dt><dd>2.1 %</dd><dd class="small">as trained</dd>' in shown
    shown, card = said(scaling_used=True, temperature=1.5, reason="Temperature scaling is used: it helps.")
    for text in (shown, card):
        assert f"2.1 % after temperature scaling (T = 1.5), 5.2 % as trained (10 test images in {bins} bins)" in text
        assert "does not exceed 3.0 %" in text
        assert "0.300 after temperature scaling (T = 1.5), 0.400 as trained" in text
    assert '<dd class="small">after temperature scaling (T = 1.5); 5.2 % as trained</dd>' in shown
    assert "0.100 after temperature scaling (T = 1.5), 0.200 as trained" in shown
    study.metrics["ece"] = 0.04
    assert "The ECE after temperature scaling (T = 1.5) is above 3.0 %" in cards.card(study)
    row = contents.headline(study)
    assert (row["test_ece"], row["test_ece_as_trained"], row["temperature"]) == (0.04, 0.052, 1.5)
    assert contents.summary(study)["test_ece"] == 0.04


def test_the_best_explainer_is_better_than_every_control_by_most_measures(study):
    assert study.best_explainer == "LIME is better than every control by 1 of 1 measures."
    first = study.ranking["metrics"]["deletion_auc"]
    both = first | {"controls": against_all("lime", edges="undecided") + against_all("grad_cam")}
    study.ranking["metrics"]["road"] = both
    assert study.best_explainer == "LIME and Grad-CAM are better than every control by 1 of 2 measures."
    study.ranking["metrics"]["insertion_auc"] = both
    assert study.best_explainer == "Grad-CAM is better than every control by 2 of 3 measures."
    for row in study.ranking["metrics"].values():
        row["controls"] = against_all("lime", random="undecided") + against_all("grad_cam", edges="worse")
    assert study.best_explainer == "No explainer is shown to be better than every control by any measure."
    assert contents.summary(study)["best_explainer"] == study.best_explainer


def test_where_nothing_was_tested_nobody_is_best(study):
    row = study.ranking["metrics"]["deletion_auc"]
    row |= {"n": 3, "decidable": False}
    assert study.best_explainer == "Not tested: 3 images are too few for any comparison, 10 at least."
    row["controls"] = []
    assert study.best_explainer.startswith("Not tested: ")
    study.ranking.update(metrics={}, outcomes=dict.fromkeys(OUTCOMES, 0))
    assert study.best_explainer.startswith("Not tested: ")
    assert study.opening[1] == study.best_explainer
    assert [name for name in contents.headline(study) if name.startswith("controls_")] == []


def test_images_that_are_not_drawn_are_counted_and_not_shown(study):
    assert "images were explained" not in page(study)
    more = study.index.assign(image=6, map=study.index["map"] + len(study.index), drawn=False)
    study = replace(study, index=pd.concat([study.index, more], ignore_index=True))
    assert study.n_explained == 2
    assert study.first_drawn == 5
    assert "2 images were explained; 1 of them are shown." in page(study)
    assert [case["row"] for case in cases(study)] == [5]
    assert {row for _, row, _ in contents.browsable(study)} == {5}


def test_images_whose_regions_are_squares_are_counted_and_named_in_the_limits(study):
    said = "SLIC finds too few or too many regions"
    assert said not in cards.card(study)
    fell = replace(study, index=study.index.assign(squares=True))
    assert (
        f"- In 1 image of 1 {said} (explain.superpixels), and a grid of squares takes their place: test image 5."
        in (cards.card(fell).replace("\\", ""))
    )
