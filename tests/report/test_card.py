"""The model card, and the sentences that it shares with the page: calibration, majority class, missing intervals."""

import html
import re
from dataclasses import replace

import numpy as np

from glassbox.report import contents
from glassbox.report.card import card

from .conftest import NAMES, shown

FEW = "no interval: cat <b> has 5 images, and it takes 8 of each class"


def test_the_model_card(study):
    text = card(study)
    sections = ["Model", "Intended use", "Data", "Metrics", "Calibration", "Reliability of its explanations", "Limits"]
    assert re.findall("^## (.*)$", text, re.MULTILINE) == sections
    assert r"| cat \<b\> | 1.000 [0.510, 1.000] | 0.800 [0.376, 0.964] | 0.889 [0.546, 0.982] | 5 |" in text
    assert "Recall is lowest for cat \\<b\\>: 80.00 % of its 5 test images are recognised" in text
    assert "2 of 2 classes have fewer than 100 test images" in text
    assert r"undecided against \|x\| and its own map of an untrained network" in text
    assert "Brier score 0.500 as trained; 1 mistakes." in text
    assert r"the weights \*W\* want" in text
    assert "treat images as independent" not in text
    study.card["groups"] = {"count": 7, "by_split": {"train": 4, "validation": 1, "test": 2}}
    assert "the 2 test images come in 2 groups: they are too narrow" in card(study)


def test_images_whose_regions_are_squares_are_counted_and_named_in_the_limits(study):
    sentence = "SLIC finds too few or too many regions"
    assert sentence not in card(study)
    squares = replace(study, index=study.index.assign(squares=True))
    assert (
        f"- In 1 image of 1 {sentence} (explain.superpixels), and a grid of squares takes their place: test image 5."
    ) in card(squares).replace("\\", "")


def test_the_accuracy_is_compared_with_always_answering_the_largest_class(study):
    sentence = (
        "It is not shown to do better than always answering cat <b>, 50.0 % of the test images (McNemar's exact test, "
        "p = 0.22: 5 images only the model recognises, 1 only that rule)."
    )
    text = html.unescape(shown(study))
    assert text.count(sentence) == 1  # each statement stands once
    assert f'balanced accuracy</a></dt><dd>90.00 %</dd><dd class="small">{FEW}</dd>' in text
    assert "Always answering cat <b> recognises 50.00 %." in text
    for text in (card(study), contents.description(study, "d" * 64)):
        assert sentence in text.replace("\\", "")
        assert f"balanced accuracy 90.00 % ({FEW})" in text.replace("\\", "")


def test_both_errors_of_calibration_are_named(study, params):
    study.metrics.update(ece=0.021, ece_as_trained=0.052, ece_by_chance=0.03, log_loss=0.1, log_loss_as_trained=0.2)
    study.metrics.update(brier=0.3, brier_as_trained=0.4)
    counts = f"(10 test images in {params.evaluate.calibration_bins} bins)"
    for text in (shown(study), card(study)):
        assert "Temperature scaling is not used: on 2 validation images nothing is known." in text
        assert f"2.1 % as trained {counts}" in text
        assert "5.2 %" not in text
    assert 'calibration error (ECE)</a></dt><dd>2.1 %</dd><dd class="small">as trained</dd>' in shown(study)
    study.calibration.update(scaling_used=True, temperature=1.5, reason="Temperature scaling is used: it helps.")
    scaled = "after temperature scaling (T = 1.5)"
    for text in (shown(study), card(study)):
        assert f"2.1 % {scaled}, 5.2 % as trained {counts}" in text
        assert "does not exceed 3.0 %" in text
        assert f"0.300 {scaled}, 0.400 as trained" in text
    assert f'<dd class="small">{scaled}; 5.2 % as trained</dd>' in shown(study)
    assert f"0.100 {scaled}, 0.200 as trained" in shown(study)
    study.metrics["ece"] = 0.04
    assert f"The ECE {scaled} is above 3.0 %" in card(study)
    row = contents.headline(study)
    assert (row["test_ece"], row["test_ece_as_trained"], row["temperature"]) == (0.04, 0.052, 1.5)
    assert contents.summary(study)["test_ece"] == 0.04


def test_an_interval_that_does_not_exist_is_not_shown(study):
    tests = study.ranking["metrics"]["deletion_auc"]["controls"]
    for test in tests:
        test |= {"low": None, "high": None}
    tests[0]["difference"] = None  # no image has scores of both
    few = f"{NAMES[0]} has only 5 test images, and it takes 10 of each class"
    study.metrics.update(macro_f1_low=None, macro_f1_high=None, macro_f1_without_interval=few)
    study = replace(study, scorecard=study.scorecard.assign(low=np.nan, high=np.nan))
    text = html.unescape(shown(study))
    assert "<small>-0.250, n = 11</small>" in text
    assert "<small>, n = 11</small>" in text
    assert contents.explainer_table(study)[0]["deletion_auc"] == "0.500"
    assert f"macro F1</a></th><td>0.500</td><td>no interval: {few}</td>" in text
    assert r"macro F1 0.500 (no interval: cat \<b\> has only 5 test images, " in card(study)
    for words in (text, card(study), contents.description(study, "d" * 64)):
        assert not re.search(r"\bnan\b|\bNone\b", words)
