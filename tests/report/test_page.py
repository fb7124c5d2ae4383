"""The HTML page: its sentences, tables and pictures, and that it needs no network."""

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from glassbox.core import files
from glassbox.core.text import MINUS
from glassbox.explainers.catalog import CONTROLS
from glassbox.report import contents, pictures
from glassbox.report import study as finished
from glassbox.report.cases import PHOTO, SCORED, SCORED_PHOTO, SMALL, cases, packed_map
from glassbox.report.page import gallery, matrix, outcomes, page
from glassbox.report.pictures import map_uri, uri

from .conftest import IMAGES, NAMES, shown


def decoded(source: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))).convert("RGB"))


class Page(HTMLParser):
    """References of a page, and whether its elements close."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.sources, self.alternatives, self.ids, self.open = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.sources += [values[key] for key in ("src", "href") if key in values]
        self.ids += [values["id"]] if "id" in values else []
        self.alternatives += [values.get("alt")] if tag == "img" else []
        if tag not in ("meta", "img", "link", "br", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def is_file(study: finished.Study, name: str) -> bool:
    """Whether this is a file beside the page."""
    return (study.folder / name).is_file()


def test_the_page_needs_no_network_and_every_link_has_its_target(study):
    text = page(study, IMAGES, "0123456789abcdef")
    parsed = Page(text)
    assert parsed.open == []
    assert len(set(parsed.ids)) == len(parsed.ids)
    for source in parsed.sources:
        is_here = source[0] == "#" and source[1:] in parsed.ids
        assert (
            source.startswith(("data:image/png;base64,", "data:image/webp;base64,"))
            or is_here
            or is_file(study, source)
        )
    assert parsed.alternatives.count("") == 1  # the picture that is shown at full size is there only with the script
    assert None not in parsed.alternatives
    assert not re.search(r"https?://|@import|<script[^>]", text)


def test_the_page_shows_what_the_files_hold(study):
    text = shown(study)
    for part in (
        "50.00 %",
        "0.001",
        "tune, trial 1",
        "cat &lt;b&gt;",
        'id="case-5"',
        'alt="Shapley values (superpixels), for dog"',
        "base 0.25, sums to f(x)",
        "No image occurs twice",
        "12 parameters, 10 of them trainable",
        "2 x 8 x 8",
        "mean: LIME 1.0, Grad-CAM 2.0; blur: Grad-CAM 1.5, LIME 1.5.",
        "mean / blur 0.25",
        "Petsiuk &lt;2018&gt;. Lower is better.",
        "with at most 320 forward passes per map",
        "<h3>Intended use</h3>",
        "Recognised images: is the evidence specific to the class?",
        "No mistake was explained.",
        "No confusable pair was explained.",
        'alt="Shapley values (superpixels): maps of recognised images"',
        "2. SHAP&#39;s explanations are locally accurate",
        "and point at the object. <em>undecided</em>",
        "so that an error reveals a fault: 1e-06 on 1 map of 1 image; at most 0.001 is supported.",
        "Shapley values (superpixels) against the controls: not tested, because the data have no true masks.",
    ):
        assert part in text, part
    for part in (
        "cat <b>",
        "Chosen in the parameters",
        "The evidence for each class was planted",
        "The shortcut",
        "accuracy on test images changed at random",
        "Shapley values (superpixels) class by class",
        "Stability of LIME",
        "images were explained",
    ):
        assert part not in text, part


def test_augmented_accuracy_is_shown_where_it_was_measured(study):
    study.metrics["augmented_accuracy"] = 0.4321
    assert '<th scope="row">accuracy on test images changed at random</th><td>43.21 %</td>' in shown(study)
    assert contents.headline(study)["test_augmented_accuracy"] == 0.4321


def test_true_masks_are_mentioned_where_there_are_any(study):
    study.card["has_masks"] = True
    text = shown(replace(study, index=study.index.assign(relevance_mass=[0.75, 0.5], object_area=0.5)))
    assert "Recognised images: is the evidence inside the true mask?" in text
    assert "lies inside the true mask, which covers 50 % of the image (mean over 1 image)." in text
    assert 'alt="Shapley values (superpixels): maps of recognised images; the true mask is outlined"' in text
    assert "(superpixels) against the controls: not tested, because it was not scored by excess relevance mass." in text


def test_a_baseline_that_is_the_background_is_mentioned(study):
    sentence = (
        "The baseline of Integrated Gradients is black, and 61 % of the pixels of the scored images have that colour"
    )
    assert sentence in shown(study)
    study.ranking["baselines"] = {"black": 0.1}
    assert sentence not in shown(study)


def test_stability_of_lime(folder, params):
    rows = {"image": [5, 5, 9, 9], "samples": [300, 1000, 300, 1000], "rank_agreement": [0.1, 0.2, 0.72, 0.8]}
    table = pd.DataFrame(rows | {"top_overlap": [0.1, 0.2, 0.3, 0.4], "top_overlap_by_chance": 0.15, "local_r2": 0.5})
    files.write_csv(folder / "reports/explain/lime_stability.csv", table)
    Image.new("RGB", (2, 2)).save(folder / "reports/explain/lime_stability.png")
    lime = params.explain.lime.model_copy(update={"samples": 400})  # nearest to 300
    params = params.model_copy(update={"explain": params.explain.model_copy(update={"lime": lime})})
    study = finished.read(params, folder / "reports", folder / "models")
    assert (
        "With 300 samples, the maps of two seeds have a rank correlation of 0.41 over the regions, and share 20 % of "
        "the 5 strongest regions (15 % by chance; means over 2 images). The study itself uses 400 samples."
    ) in shown(study)
    headline = contents.headline(study)
    assert headline["rank_agreement/lime"] == pytest.approx((0.1 + 0.72) / 2)
    assert headline["top_overlap/lime"] == pytest.approx(0.2)


def test_without_a_search_the_page_needs_none_of_its_pictures(folder, params):
    about = {"trial": None, "measure": "validation_accuracy", "value": None}
    empty = about | {"trials": 0, "epochs": 0, "params": {}, "when": {}}
    files.write_json(folder / "reports/tune/best.json", empty)
    for name in ("history", "trials", "parallel_coordinates"):
        (folder / f"reports/tune/{name}.png").unlink()
    study = finished.read(params, folder / "reports", folder / "models")
    assert "No search: all hyperparameters were given." in shown(study)
    assert "best_validation_accuracy" not in contents.headline(study)


def test_groups_masks_and_balanced_training(study, params):
    assert "no group is in two splits" not in shown(study)
    study.card["groups"] = {"count": 7, "by_split": {"train": 4, "validation": 1, "test": 2}}
    study.card["masks"] = {"test_images": 1, "by_class": [1, 0]}
    study.search.update(measure="validation_balanced_accuracy", value=0.8)
    train = params.train.model_copy(update={"class_weights": "balanced"})
    study = replace(study, params=params.model_copy(update={"train": train}))
    text = shown(study)
    assert "twice. The images form 7 groups, and no group is in two splits (4 train, 1 validation, 2 test)." in text
    assert "1 of 2 test images have a non-empty mask" in text
    assert "with 80.00 % validation balanced accuracy." in text
    assert "so that all K classes counted the same" in text
    assert contents.headline(study)["best_validation_balanced_accuracy"] == 0.8


def test_masks_that_are_only_plausible_are_called_so(study):
    filling = {"filling": "inpainted", "outcome": "plausibility", "drop_hidden": 0.125, "drop_elsewhere": 0.25}
    for name, share in (("hidden", 0.75), ("elsewhere", 0.5)):
        filling |= {name: share, f"{name}_low": share - 0.125, f"{name}_high": share + 0.125}
    gate = {"outcome": "plausibility", "images": 40, "classes": 2, "too_large": 3, "chance": 0.5, "below": 0.75}
    gate |= {"above": 0.875, "fillings": [filling], "sentence": "Localization is plausibility, here."}
    study.card["has_masks"] = True
    no_mask, empty, vanished = ({"count": n} for n in (30, 2, 1))
    study.card["masks"] = {
        "test_images": 1,
        "by_class": [1, 0],
        "no_mask": no_mask,
        "empty": empty,
        "vanished": vanished,
    }
    study = replace(study, gate=study.gate | {"masks": gate})
    metric = {"metric": "excess_relevance_mass", "property": "plausibility", "direction": "unranked"}
    rows = study.scorecard[study.scorecard["metric"] == "deletion_auc"].assign(**metric)
    text = shown(replace(study, scorecard=pd.concat([study.scorecard, rows])))
    assert "<p>Localization is plausibility, here.</p>" in text
    assert "2 classes with its 95 % interval, and fall of the class's probability (40 images; 3 with more than" in text
    cells = "<td>75 %<small>[62 %, 88 %]</small></td><td>50 %<small>[38 %, 62 %]</small></td><td>0.12</td><td>0.25</td>"
    assert f'<th scope="row">inpainted</th>{cells}<td>plausibility</td>' in text
    assert "</a> and plausibility, with the study's own settings" in text
    assert '<a class="term" href="#term-excess_relevance_mass">excess relevance mass</a>' in text
    assert "does the map agree with the mask?" in text
    assert "30 have no mask, 2 an empty one, and 1 one whose marked pixels are all cut off" in text
    assert "Whether a map shows the place that the model uses is not known." in text


def test_a_recipe_that_was_searched_is_described_as_it_was_found(study, params):
    keys = ("class_weights", "sampling", "keep", "watch")
    train = params.train.model_copy(update=dict.fromkeys(keys, "tuned"))
    searched = replace(study, params=params.model_copy(update={"train": train}))
    weighted, drawn = "so that all K classes counted the same", "Each epoch drew the same number of images"
    watched = "they had the lowest sum of validation loss and weight penalty"
    for values, sentences in (
        (("balanced", "shuffle", "best", "penalized_loss"), [weighted, watched]),
        ((None, "balanced", "last", "loss"), [drawn]),
    ):
        rows = [{"key": f"train.{key}", "value": v, "source": "tune"} for key, v in zip(keys, values, strict=True)]
        text = shown(replace(searched, model=study.model | {"choices": rows}))
        assert [s for s in (weighted, drawn, watched) if s in text] == sentences


def test_a_search_by_loss_and_its_second_objective_are_shown(folder, params):
    best = {"trial": 1, "measure": "validation_loss", "value": 0.25, "trials": 2, "epochs": 5, "params": {}, "when": {}}
    files.write_json(folder / "reports/tune/best.json", best)
    assert "Both objectives" not in shown(finished.read(params, folder / "reports", folder / "models"))
    Image.new("RGB", (2, 2)).save(folder / "reports/tune/pareto.png")
    study = finished.read(params, folder / "reports", folder / "models")
    text = shown(study)
    assert "trial 1 with 0.2500 validation loss." in text
    assert "Validation loss of every trial" in text
    assert "Both objectives of every complete trial" in text
    assert contents.headline(study)["best_validation_loss"] == 0.25


def test_every_comparison_with_a_control_has_its_cell(study):
    table = outcomes(study.ranking)["deletion_auc"]
    assert table["columns"] == [*CONTROLS.values(), "itself untrained"]
    assert [row["title"] for row in table["rows"]] == ["LIME", "Grad-CAM"]
    for row, name in zip(table["rows"], ("lime", "grad_cam"), strict=True):
        keys = [*CONTROLS, f"untrained {name}"]
        assert [(test["explainer"], test["control"]) for test in row["cells"]] == [(name, key) for key in keys]
    text = shown(study)
    for outcome, numbers, n in (
        ("better", "-0.250 [-0.312, -0.188]", 11),
        ("worse", "+0.125 [+0.062, +0.188]", 1),
        ("undecided", "-0.031 [-0.094, +0.031]", 2),
    ):
        assert text.count(f'<td class="{outcome}">{outcome}<small>{numbers}, n = 11</small></td>') == n
    study.ranking["metrics"]["deletion_auc"]["controls"].pop()  # Grad-CAM was not compared with itself untrained
    assert outcomes(study.ranking)["deletion_auc"]["rows"][1]["cells"][-1] is None
    assert "<td></td></tr>" in shown(study)


def test_a_metric_without_ranks_has_no_section_of_ranks(study):
    assert "<summary>Ranks by deletion AUC</summary>" in shown(study)
    study.ranking["metrics"]["deletion_auc"] |= {"decidable": False, "mean_ranks": {}, "settings": {}, "kendall": {}}
    text = shown(study)
    assert "Ranks by" not in text
    assert "<summary>Differences with intervals, deletion AUC</summary>" in text


def test_a_shortcut_has_a_section(study):
    verdict = "The network loses 20 %."
    shortcut = {"target": 0, "arms": [], "gate": [], "contrast": None, "verdicts": [verdict]}
    study = replace(study, shortcut=shortcut)
    assert study.verdicts[-1] == verdict
    assert "The shortcut" in shown(study)


AUDIT = {"sentences": ["dog leans on <the> corner."], "confirmed": 1, "candidates": 2}
FINDINGS = """
finding,class,candidate,n,n_others,removed,removed_low,removed_high,put,put_low,put_high,lost,lost_low,lost_high,taken,taken_low,taken_high,confirmed
1,dog,the <lower> left corner,40,80,0.75,0.5,1,-0.125,-0.25,0,0.5,0.25,0.75,0.125,0,0.25,True
2,dog,the contrast of the whole image,0,80,,,,0.5,,,,,,0,-0.05,0.05,False
"""
REPAIR = {
    "findings": ["dog: the <lower> left corner"],
    "verdicts": [{"way": "last_layer", "sentence": "last_layer: fixed & proven.", "evidence": ["+5 <points>"]}],
    "headline": {"repair_last_layer_fixed": 1.0},
    "planted": {"original": 0.125, "trained without the mark": 0.9375},
    "audits": {"last_layer": ["No class is shown to lean on anything."]},
}
REPAIRED = """
way,against,measure,value,value_against,repeats,difference,low,high,p,significant,p_holm
last_layer,original,moved,0.875,0.25,5,0.625,0.5,0.75,0.001,5,0.003
last_layer,original,worst_group,0.5,0.25,5,0.25,-0.1,0.6,0.1,,
"""


def test_findings_and_repairs_have_a_section(study):
    assert 'href="#shortcuts"' not in shown(study)
    searched = replace(study, audit=AUDIT, findings=pd.read_csv(io.StringIO(FINDINGS)))
    text = shown(searched)
    assert 'href="#shortcuts"' in text
    assert "dog leans on &lt;the&gt; corner." in text
    assert "<td>the &lt;lower&gt; left corner</td><td>50 %<small>[25 %, 75 %]</small></td><td>12 %<small>" in text
    assert "<td>the contrast of the whole image</td><td></td><td>0 %" in text
    assert f"<td>0.75<small>[0.50, 1.00]</small></td><td>{MINUS}0.12<small>[{MINUS}0.25, 0.00]</small></td>" in text
    assert f"<td>0 %<small>[{MINUS}5 %, 5 %]</small></td><td></td><td>0.50</td><td>0, 80</td>" in text
    assert "repair.findings: [1]" in text
    assert contents.headline(searched)["shortcut_candidates"] == 2
    assert searched.shortcuts == AUDIT["sentences"]

    both = replace(searched, repair=REPAIR, repaired=pd.read_csv(io.StringIO(REPAIRED)))
    (both.folder / "repair").mkdir(exist_ok=True)
    for name in ("comparison", "maps"):
        Image.new("RGB", (2, 2)).save(both.folder / f"repair/{name}.png")
    text = shown(both)
    assert "repair.findings: [1]" not in text
    assert "last_layer: fixed &amp; proven." in text
    assert "<td>+62.5<small>[+50.0, +75.0]</small></td><td>0.003</td><td>5 of 5</td>" in text
    assert f"<td>+25.0<small>[{MINUS}10.0, +60.0]</small></td><td></td><td></td>" in text
    assert "trained without the mark</th><td>93.8 %" in text
    assert "<h4>After last layer</h4><ul><li>No class is shown" in text
    assert "<li>+5 &lt;points&gt;</li>" in text
    assert contents.headline(both)["repair_last_layer_fixed"] == 1
    assert both.shortcuts == [*AUDIT["sentences"], "last_layer: fixed & proven."]


def test_the_cells_of_the_confusion_matrix_show_their_images(study, monkeypatch):
    cats, dogs = matrix(study, IMAGES, {5})
    assert [cell["count"] for cell in cats["cells"] + dogs["cells"]] == [4, 1, 0, 5]
    assert [cell["share"] for cell in cats["cells"]] == [0.8, 0.2]
    assert [image["row"] for image in cats["cells"][0]["images"]] == [0, 3, 2, 1]  # the least confident first
    assert [image["row"] for image in cats["cells"][1]["images"]] == [9]
    assert [image["row"] for image in dogs["cells"][1]["images"]] == [8, 7, 6, 5, 4]
    assert [image["explained"] for image in dogs["cells"][1]["images"]] == [False, False, False, True, False]
    assert np.array_equal(decoded(cats["cells"][1]["images"][0]["image"]), IMAGES[9])
    text = shown(study)
    assert 'aria-label="cat &lt;b&gt; taken for dog: 1"' in text
    assert 'href="#case-5"' in text
    monkeypatch.setattr("glassbox.report.page.MOST_CLASSES", 1)  # with many classes it is a picture
    text = shown(study)
    assert 'alt="Confusion matrix"' in text
    assert 'class="matrix"' not in text


def test_the_gallery_leads_to_the_explanations(study):
    (found,) = gallery(study, IMAGES, set())
    assert [found[key] for key in ("row", "truth", "guess", "explained")] == [9, NAMES[0], "dog", False]
    assert gallery(study, IMAGES, {9})[0]["explained"]
    assert '<span>9 · 99 %</span><a href="#case-9">why?' in shown(study)
    right = study.predictions.assign(predicted_class=study.predictions["true_class"])
    assert gallery(replace(study, predictions=right), IMAGES, set()) == []


def test_every_explained_image_has_its_maps_and_probabilities(study):
    (case,) = cases(study)
    assert [case[key] for key in ("row", "group", "truth", "guess", "file")] == [5, "correct", "dog", "dog", None]
    assert np.array_equal(decoded(case["image"]), IMAGES[5])
    dog, cat = case["probabilities"]
    assert dog == {"class": "dog", "p": 0.85, "guess": True, "truth": True}
    assert cat == {"class": NAMES[0], "p": pytest.approx(0.15), "guess": False, "truth": False}
    (explained,) = case["explained"]
    assert explained["class"] == "dog"
    (shap,) = explained["maps"]
    assert (shap["title"], shap["note"]) == ("Shapley values (superpixels)", "base 0.25, sums to f(x)")
    corner = decoded(shap["map"])[0, 0]
    assert corner[2] > corner[0]  # blue: against
    study.index.loc[0, "additivity_error"] = 0.5
    (shap,) = cases(study)[0]["explained"][0]["maps"]
    assert (shap["map"], shap["note"]) == (None, "not shown: sums to f(x) ± 0.5")
    lime = study.index.assign(explainer=["lime", "random"], local_r2=np.nan, additivity_error=np.nan, all_zero=True)
    (lime,) = cases(replace(study, index=lime))[0]["explained"][0]["maps"]
    assert lime["note"] == "no R²: the class's probability\ndoes not vary near the image"


def browsable(study: finished.Study) -> list[tuple[str, int]]:
    return [(key, row) for key, row, _ in pictures.browsable(study)]


def test_mlflow_gets_the_images_and_the_maps_that_may_be_shown(study):
    scorecard = ("scorecard", 0)
    assert browsable(study) == [("explanations/Shapley values superpixels", 5), ("explanations/image", 5), scorecard]
    study.index.loc[0, "additivity_error"] = 0.5
    assert browsable(study) == [("explanations/image", 5), scorecard]
    assert browsable(replace(study, scorecard=None)) == [("explanations/image", 5)]


def test_images_that_are_not_drawn_are_counted_and_not_shown(study):
    more = study.index.assign(image=6, map=study.index["map"] + len(study.index), drawn=False)
    study = replace(study, index=pd.concat([study.index, more], ignore_index=True))
    assert study.n_explained == 2
    assert study.first_drawn == 5
    assert "2 images were explained; 1 of them are shown." in shown(study)
    assert [case["row"] for case in cases(study)] == [5]
    assert {row for key, row in browsable(study) if key != "scorecard"} == {5}


def test_kernel_shaps_maps_of_many_classes_share_a_scale(study):
    study.arrays["panels"] = np.stack([np.full((8, 8), 0.5), np.full((8, 8), 0.25)]).astype(np.float32)
    rows = {"map": [0, 1], "image": 5, "explained_class": NAMES, "base_value": 0.5, "evidence_for": 0.4}
    rows |= {"evidence_against": -0.05, "additivity_error": [1e-6, 0.5], "shown": [True, False]}
    rows |= {"empty_class": NAMES[1], "empty_probability": 0.625}
    study = replace(study, panels=pd.DataFrame(rows))
    study.arrays["panels"] = np.stack([np.full((8, 8), 0.5), np.full((8, 8), 0.25)]).astype(np.float32)
    first, second = cases(study)[0]["panels"]
    assert (first["class"], first["map"]) == (NAMES[0], map_uri(IMAGES[5], np.ones((8, 8))))
    assert (second["map"], second["note"]) == (None, "not shown: sums to f(x) ± 0.5")
    text = shown(study)
    assert f"the most probable class is then {NAMES[1]} (0.62)" in text
    assert f"0.50 + 0.40 {MINUS} 0.05 = 0.85" in text


def test_the_page_stays_small():
    """64 images of 224 pixels by eight explainers, for two classes each, and 60 that were only scored: the limit is 15
    MiB, of which figures take two."""
    noise = np.random.default_rng(0)  # the least compressible image
    image, values = noise.integers(0, 256, (224, 224, 3), dtype=np.uint8), noise.normal(size=(224, 224))
    map_of = len(packed_map(values))
    explained = len(uri(image, PHOTO)) + 16 * (len(map_uri(image, values, side=SMALL)) + map_of)
    scored = len(uri(image, SCORED_PHOTO)) + 8 * map_of
    assert 64 * explained + SCORED * scored < 13 * 2**20
