"""The three answers, the numbers and the picture that a reader sees first."""

from dataclasses import replace

import pandas as pd
import pytest

from glassbox.report import first_screen
from glassbox.report import study as finished
from glassbox.report.cases import cases

from .conftest import NAMES, against_all, shown


def answer(study: finished.Study, question: str) -> tuple[str, str]:
    (found,) = [one for one in first_screen.answers(study) if one["question"] == question]
    return found["first"], found["rest"]


def test_how_good_it_is(study):
    assert answer(study, first_screen.HOW_GOOD) == (
        "It recognises 50.00 % of 10 test images",
        "(95 % interval 50.00 % to 50.00 %). Always answering cat <b> recognises 50.00 %.",
    )


def test_which_map_to_look_at_first_and_how_sure_that_is(study):
    assert answer(study, first_screen.WHICH_MAP) == (
        "LIME",
        "is better than every control by 1 of 1 measures, no other explainer by any. Comparisons with controls: "
        "7 better, 0 worse, 0 undecided; with the other explainers: 1 better, 0 worse, 0 undecided (n = 11).",
    )
    tile = first_screen.tiles(study)[-1]
    assert (tile["value"], tile["about"]) == ("LIME", "better than every control by 1 of 1 measures, n = 11")


def test_a_comparison_with_another_explainer_is_read_from_either_side(study):
    row = study.ranking["metrics"]["deletion_auc"]
    row["pairs"] = [{"a": "grad_cam", "b": "lime", "outcome": "worse"}, {"a": "rise", "b": "lime", "outcome": "better"}]
    assert "with the other explainers: 1 better, 1 worse" in answer(study, first_screen.WHICH_MAP)[1]


@pytest.mark.parametrize(
    ("tests", "first", "rest", "tile"),
    [
        (
            against_all("lime") + against_all("grad_cam"),
            "Undecided between LIME and Grad-CAM:",
            "they are better than every control by 1 of 1 measures; none with the most is better than all of "
            "the others (n = 11).",
            "between LIME and Grad-CAM, n = 11",
        ),
        (
            against_all("lime", random="undecided") + against_all("grad_cam", edges="worse"),
            "Undecided: none of 2 explainers",
            "is shown to be better than every control by any of 1 measures (n = 11).",
            "none is better than every control, n = 11",
        ),
    ],
)
def test_undecided_is_an_answer(study, tests, first, rest, tile):
    row = study.ranking["metrics"]["deletion_auc"]
    row["controls"], (row["pairs"][0]["outcome"],) = tests, ("undecided",)
    assert answer(study, first_screen.WHICH_MAP) == (first, rest)
    assert first_screen.tiles(study)[-1] | {"value": "Undecided", "about": tile} == first_screen.tiles(study)[-1]


def test_the_first_of_several_is_better_than_the_others(study):
    study.ranking["metrics"]["deletion_auc"]["controls"] = against_all("lime") + against_all("grad_cam")
    first, rest = answer(study, first_screen.WHICH_MAP)  # by the one pair of the study LIME is better
    assert first == "LIME"
    assert "by 1 of 1 measures, and better than 1 other explainer that beats them by any. Comp" in rest


def test_too_few_images_and_a_refusal_are_answers(study):
    study.ranking["metrics"]["deletion_auc"] |= {"n": 3, "decidable": False}
    assert answer(study, first_screen.WHICH_MAP) == (
        "Not tested.",
        "3 images are too few for any comparison, 10 at least.",
    )
    refused = replace(study, ranking=None, scorecard=None, gate={"checks": [], "refusal": "The model fails."})
    assert answer(refused, first_screen.WHICH_MAP) == ("Not tested.", "The model fails.")
    assert first_screen.tiles(refused)[-1]["about"] == "explainers were not scored"


def test_what_fails_and_why(study):
    first, rest = answer(study, first_screen.WHAT_FAILS)
    assert first == "cat <b> is taken for dog"
    assert rest == "in 1 of 5 images, the most frequent of 1 mistake. Why was not tested."
    mistakes = pd.DataFrame(
        {
            "image": range(20),
            "explainer": "kernel_shap",
            "group": "mistake",
            "true_class": NAMES[0],
            "predicted_class": NAMES[1],
            "corrected": [1] * 15 + [0] * 5,
            "corrected_at_random": 0.0,
        }
    )
    for corrected, words in (([1] * 15 + [0] * 5, "Maps find what misleads it"), ([0] * 20, "Whether maps find")):
        found = answer(replace(study, mistakes=mistakes.assign(corrected=corrected)), first_screen.WHAT_FAILS)[1]
        assert f"mistake. {words}" in found
        assert "more of 20 mistakes turn right than without random regions" in found
    both = study.predictions.copy()
    both.loc[4, "predicted_class"] = NAMES[0]  # now one of each kind
    study.metrics["mistakes"] = 2
    tied = answer(replace(study, predictions=both), first_screen.WHAT_FAILS)[1]
    assert tied.startswith("in 1 of 5 images, as often as other kinds of mistakes (2 in all). ")
    right = study.predictions.assign(predicted_class=study.predictions["true_class"])
    assert answer(replace(study, predictions=right), first_screen.WHAT_FAILS) == (
        "No test image is misclassified",
        "of 10.",
    )


def test_the_picture_is_of_the_most_frequent_mistake_by_the_trusted_explainer(study):
    index = pd.concat([study.index.assign(image=9, true_class=NAMES[0], group="mistake"), study.index])
    found = first_screen.picture(study, cases(replace(study, index=index)))
    assert found is None  # LIME is trusted, and made no map
    index = index.assign(explainer=["lime", "random"] * 2, additivity_error=float("nan"), local_r2=0.5)
    found = first_screen.picture(study, cases(replace(study, index=index)))
    assert (found["case"]["row"], found["title"]) == (9, "LIME")
    assert [one["class"] for one in found["maps"]] == ["dog"]
    text = shown(replace(study, index=index))
    assert text.index('<figure class="evidence">') < text.index('<dl class="numbers">')
    assert '<a href="#case-9">Test image 9</a>: cat &lt;b&gt;, taken for dog. LIME, for dog: red speaks' in text
