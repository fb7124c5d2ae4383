"""What the API returns: explanations that a notebook draws, and judgements that it shows as tables."""

import numpy as np
import pandas as pd
import pytest
from conftest import LinearNetwork, ProbabilityNetwork

import glassbox
from glassbox.core.errors import UserError
from glassbox.explainers.catalog import CONTROLS
from glassbox.statistics import comparison

PNG = b"\x89PNG"


@pytest.fixture(scope="module")
def explanation():
    """Of three images of four pixels a side, for class 1 of a linear network."""
    classifier = glassbox.Classifier(LinearNetwork(np.arange(16.0).reshape(4, 4) - 4), classes=("cat", "dog"))
    images = np.random.default_rng(0).integers(0, 256, (3, 4, 4, 3), dtype=np.uint8)
    return glassbox.explain(classifier=classifier, images=images, targets=[1, 0, 1])


def test_an_explanation_has_what_was_explained(explanation):
    assert explanation.maps.shape == (3, 4, 4)
    assert (explanation.explainer, explanation.classes) == ("integrated_gradients", ("cat", "dog"))
    assert explanation.targets.tolist() == [1, 0, 1]
    assert explanation.probabilities.sum(axis=1) == pytest.approx(1)
    assert set(explanation.arrays()) == {"maps", "seconds", "forward_passes", "backward_passes", "completeness_error"}


def test_some_of_its_images_are_an_explanation(explanation):
    some = explanation.rows([2, 0])
    assert np.array_equal(some.maps, explanation.maps[[2, 0]])
    assert np.array_equal(some.images, explanation.images[[2, 0]])
    assert some.details["completeness_error"].tolist() == explanation.details["completeness_error"][[2, 0]].tolist()


def test_a_notebook_draws_it(explanation):
    assert explanation._repr_png_().startswith(PNG)
    many = explanation.rows([0, 1, 2] * 4)
    assert many._repr_png_().startswith(PNG)


def labels_of(figure) -> list[str]:
    return [axis.get_xlabel() for axis in figure.axes]


def test_captions_name_the_prediction_and_another_explained_class(explanation):
    figure = glassbox.plot(explanations=explanation)
    assert len(figure.axes) == 3 * 2 + 1
    assert labels_of(figure)[:6:2] == ["dog, 100.0 %", "dog, 100.0 %\nmaps for cat", "dog, 100.0 %"]


def test_figures_of_several_explainers_are_of_the_same_images(explanation):
    figure = glassbox.plot(explanations=[explanation, explanation], scale="absolute")
    assert len(figure.axes) == (3 + 1) * 3
    assert labels_of(figure)[-2:] == ["attribution, logit"] * 2
    with pytest.raises(UserError, match="integrated_gradients explains other images or classes"):
        glassbox.plot(explanations=[explanation, explanation.rows([0, 2, 1])])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({}, "plot needs either explanations, or image and attribution"),
        ({"image": np.zeros((4, 4, 3), np.uint8)}, "plot needs either explanations"),
        ({"explanations": []}, "explanations is empty, but must have one at least"),
        ({"explanations": [], "scale": "log"}, "scale is 'log', but must be 'own' or 'absolute'"),
    ],
)
def test_a_wrong_figure_is_one_sentence(arguments, sentence):
    with pytest.raises(UserError, match=sentence):
        glassbox.plot(**arguments)


SIDE, N = 8, 20


@pytest.fixture(scope="module")
def judged():
    """The probability is 0.9 on white images, and 0.1 where the one pixel in the corner is black: its attribution is
    0.8, that of all others 0."""
    weights = np.zeros((SIDE, SIDE))
    weights[0, 0] = 0.8
    arguments = {
        "classifier": glassbox.Classifier(ProbabilityNetwork(weights, floor=0.1), classes=("no", "yes")),
        "images": np.full((N, SIDE, SIDE, 3), 255, np.uint8),
        "background": np.zeros((1, SIDE, SIDE, 3), np.uint8),  # deleted pixels are black
        "settings": {"precision": "float32", "occlusion": {"window": 1, "stride": 1}},
    }
    return arguments, glassbox.judge(**arguments, explainers=["occlusion"], metrics=["deletion_auc"])


def test_a_judgement_by_hand(judged):
    """Deletion has 16 steps of 4 pixels. Occlusion deletes the pixel in the first, so that the curve falls at once: its
    area is (0.9 + 0.1) / 2 / 16 + 0.1 * 15 / 16. A Gaussian in the centre deletes it in the last."""
    _, judgement = judged
    first, last = 0.5 / 16 + 0.1 * 15 / 16, 0.9 * 15 / 16 + 0.5 / 16
    by_subject = judgement.scores.groupby("explainer")["deletion_auc[mean]"]
    assert by_subject.mean()["occlusion"] == pytest.approx(first, abs=1e-6)
    assert by_subject.mean()["centre"] == pytest.approx(last, abs=1e-6)
    means = judgement.table[judgement.table["ranks"]].set_index("explainer")["mean"]
    assert means["occlusion"] == pytest.approx(first, abs=1e-6)
    test = judgement.against_controls.set_index("control").loc["centre"]
    assert test["difference"] == pytest.approx(first - last, abs=1e-6)
    assert test["n"] == N
    assert test["p"] == pytest.approx(2 / 2**N)
    assert (test["explainer"], test["outcome"]) == ("occlusion", "better")


def test_maps_of_one_value_do_not_count(judged):
    """White images have no edges, and one brightness: such controls rank no pixel and are not compared."""
    scores, tests = judged[1].scores, judged[1].against_controls
    assert set(scores.loc[scores["constant_map"], "explainer"]) == {"edges", "brightness"}
    assert set(tests["control"]) == set(CONTROLS) - {"edges", "brightness"}


def test_the_maps_are_those_of_explain(judged):
    arguments, judgement = judged
    same = {name: arguments[name] for name in ("classifier", "images", "background")}
    again = glassbox.explain(**same, explainer="occlusion", settings=arguments["settings"]["occlusion"])
    assert np.array_equal(judgement.explanations["occlusion"].maps, again.maps)


def test_differences_and_intervals_are_those_of_the_statistics_of_studies():
    """On random images, on which the maps of every subject differ, and with a mask that counts where the prediction is
    right."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (14, SIDE, SIDE, 3), dtype=np.uint8)
    weights = rng.normal(size=(SIDE, SIDE)) / 40
    classifier = glassbox.Classifier(ProbabilityNetwork(weights - weights.mean(), floor=0.5))
    masks = np.zeros((14, SIDE, SIDE), bool)
    masks[:, :4] = True
    metrics = ["insertion_auc", "excess_relevance_mass"]
    given = {"classifier": classifier, "images": images, "explainers": ["integrated_gradients"], "metrics": metrics}
    judgement = glassbox.judge(**given, masks=masks, labels=[0] * 14)
    predicted = judgement.explanations["integrated_gradients"].targets
    assert 0 < (predicted == 0).sum() < 14
    scores = judgement.scores.pivot(index="image", columns="explainer")
    mass = scores["excess_relevance_mass[margin 0]"]
    assert mass.notna().sum().eq((predicted == 0).sum()).all()
    tests = judgement.against_controls.set_index(["metric", "control"])
    differences = scores["insertion_auc[blur]"]["integrated_gradients"] - scores["insertion_auc[blur]"]["random"]
    row = tests.loc["insertion_auc", "random"]
    assert [*row[["difference", "low", "high"]]] == pytest.approx(comparison.shift(differences.to_numpy()))
    assert tests.loc["excess_relevance_mass", "random"]["n"] == (predicted == 0).sum()
    assert judgement.table["low"].isna().all()  # fewer than 40 images have no interval
    pd.testing.assert_frame_equal(judgement.scores, glassbox.judge(**given, masks=masks, labels=[0] * 14).scores)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"explainers": ["occlusion", "magic"]}, "explainers has 'magic', but must be different ones of lime"),
        ({"explainers": ["occlusion", "occlusion"]}, "explainers has 'occlusion', but must be different ones"),
        ({"explainers": []}, r"explainers is \[\], but must be a list of at least one value"),
        ({"explainers": ["lime", "kernel_shap"]}, "kernel_shap needs a background of 4 images, and none are given"),
        ({"explainers": ["occlusion", "grad_cam"]}, "Grad-CAM needs features of more than one place"),
        ({"metrics": ["emprt"]}, "metrics has 'emprt', but must be of deletion_auc"),
        ({"labels": [0]}, r"labels are \(1,\), but there are 2 images"),
        ({"labels": [0, 2]}, r"labels are \[0, 2\], but must be from 0 to 1"),
        ({"masks": np.zeros((1, 8, 8), bool)}, r"masks have the shape \(1, 8, 8\), but the images require \(2, 8, 8\)"),
        ({"settings": {"lime": {"sampels": 3}}}, "sampels"),
        ({"settings": {"lime": 3}}, "lime is 3, but must be a section of keys"),
    ],
)
def test_a_wrong_argument_of_judge_is_one_sentence(changes, sentence):
    arguments = {
        "classifier": glassbox.Classifier(LinearNetwork(np.ones((8, 8)))),
        "images": np.zeros((2, 8, 8, 3), "u1"),
    }
    with pytest.raises(UserError, match=sentence):
        glassbox.judge(**arguments | changes)


def test_without_enough_images_nothing_is_decided():
    arguments = {"classifier": glassbox.Classifier(LinearNetwork(np.eye(8))), "images": np.eye(8)[None, ..., None]}
    arguments["images"] = np.repeat(255 * arguments["images"], 3, axis=3).astype(np.uint8)
    judgement = glassbox.judge(**arguments, explainers=["integrated_gradients"], metrics=["insertion_auc", "gini"])
    assert set(judgement.against_controls["outcome"]) == {"undecided"}
    assert judgement.verdicts[0].startswith("Not tested: 1 image is too few")
    only = glassbox.judge(**arguments, explainers=["integrated_gradients"], metrics=["gini"])
    assert only.against_controls.empty
    assert "Gini index" in only._repr_html_()


def test_a_notebook_shows_a_judgement(judged):
    text = judged[1]._repr_html_()
    assert "<th>Occlusion</th>" in text
    assert "<th>centred Gaussian (control)</th>" in text
    assert "deletion AUC ↓" in text
    assert f"corrected for all {judged[1].tests} tests" in text
    assert all(sentence in text for sentence in judged[1].verdicts)
