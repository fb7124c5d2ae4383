import numpy as np
import pandas as pd

from glassbox.report import analyses


def index() -> pd.DataFrame:
    rows = [
        ("kernel_shap", 1, "cat", "cat", "cat", 0.7, 0.4, 0.2, 0.5, -0.1),
        ("kernel_shap", 2, "dog", "cat", "cat", 0.5, 0.5, 0.3, 0.62, -0.2),
        ("kernel_shap", 2, "dog", "cat", "dog", 0.5, 0.5, 0.4, 0.1, -0.35),
        ("random", 1, "cat", "cat", "cat", 0.41, 0.4, None, None, None),
    ]
    columns = ["explainer", "image", "true_class", "predicted_class", "explained_class", "relevance_mass",
               "object_area", "base_value", "evidence_for", "evidence_against"]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


MISTAKES = pd.DataFrame(
    {"image": [2], "true_class": ["dog"], "predicted_class": ["cat"], "explainer": ["kernel_shap"], "p_true": [0.2],
     "p_true_after": [0.8], "corrected": [1], "corrected_at_random": [0.25], "agreement": [-0.5]}
)  # fmt: skip


RANKING = {"metrics": {"excess_relevance_mass": {"n": 12, "direction": "higher is better", "controls": [
    {"explainer": "kernel_shap", "control": "random", "outcome": "better"},
    {"explainer": "kernel_shap", "control": "centre", "outcome": "worse"},
    {"explainer": "lime", "control": "centre", "outcome": "better"},
]}}}  # fmt: skip


def test_recognised_images_in_words():
    tests = pd.DataFrame({"drop_own": [0.5, 0.7], "drop_other": [0.1, 0.1]})
    first, second = analyses.recognised(index(), tests, "kernel_shap", RANKING)
    assert first == (
        "Of the positive attribution of Shapley values (superpixels) for the class of a recognised image 70 % lies "
        "inside the true mask, which covers 40 % of the image (mean of 1 image). By excess relevance mass on 12 scored "
        "images Shapley values (superpixels) is better than random, worse than centred Gaussian."
    )
    assert (
        "Shapley values (superpixels) ranks first for the class changes the class's probability by "
        "\N{MINUS SIGN}0.60 on average" in second
    )
    assert "blurring those for the next class by \N{MINUS SIGN}0.10 (2 images)" in second
    assert len(analyses.recognised(index(), tests.iloc[:0], "kernel_shap", RANKING)) == 1
    assert analyses.recognised(index().iloc[:0], tests, "kernel_shap", None) == ["No recognised image was explained."]
    (said,) = analyses.recognised(index(), tests.iloc[:0], "kernel_shap", None)
    assert said.endswith("Whether maps that ignore the model have as much was not tested.")


def test_without_true_masks_nothing_is_said_of_objects():
    tests = pd.DataFrame({"drop_own": [0.5], "drop_other": [0.1]})
    bare = index().drop(columns=["relevance_mass", "object_area"])
    (said,) = analyses.recognised(bare, tests, "kernel_shap", RANKING)
    assert said.startswith("Blurring")
    assert "object" not in said
    assert analyses.recognised(bare, tests.iloc[:0], "kernel_shap", RANKING) == []


def test_mistakes_in_words():
    first, second = analyses.mistakes(MISTAKES, index(), "kernel_shap", 0.2, 3)
    assert "With 20 % of the image blurred" in first
    assert "1 of 1 mistakes turn right; with random regions 25 % do" in first
    assert second == (
        "Image 2, dog, taken for cat: regions worth +0.62 spoke for cat and \N{MINUS SIGN}0.20 against it; +0.10 for "
        "dog and \N{MINUS SIGN}0.35 against it. Without the named regions dog goes from 0.20 to 0.80."
    )
    assert analyses.mistakes(MISTAKES.iloc[:0], index(), "kernel_shap", 0.2, 3) == ["No mistake was explained."]


def test_mistakes_without_kernel_shap():
    lime = MISTAKES.assign(explainer="lime")
    _, second = analyses.mistakes(lime, index().iloc[:0], "lime", 0.2, 3)
    assert second == "Image 2, dog, taken for cat. Without the named regions dog goes from 0.20 to 0.80."


def test_pairs_in_words():
    found = pd.DataFrame(
        {"explainer": "kernel_shap", "a_class": ["cat", "cat", "car", "hen"], "b_class": ["dog", "dog", "truck", "owl"],
         "agreement": [-0.5, -0.7, 0.1, 0.9]}
    )  # fmt: skip
    one, two, three, meaning = analyses.pairs(found, "kernel_shap", 10)
    assert one == (
        "cat and dog, 2 images: rank correlation of the regions for either class \N{MINUS SIGN}0.50 and "
        "\N{MINUS SIGN}0.70."
    )
    assert two == "car and truck, 1 image: rank correlation of the regions for either class +0.10."
    assert three == "hen and owl, 1 image: rank correlation of the regions for either class +0.90."
    assert meaning.endswith("These are single images, not a test.")
    assert analyses.pairs(found.iloc[:0], "kernel_shap", 10) == ["No confusable pair was explained."]
    nothing, _ = analyses.pairs(found.iloc[:1].assign(agreement=np.nan), "kernel_shap", 10)
    assert nothing == "cat and dog: no map ranks the regions, so there is nothing to compare."
    (two,) = analyses.pairs(found.iloc[:2], "kernel_shap", 2)
    assert "by definition" in two


def test_what_holds_by_definition_is_no_finding():
    assert (
        "rank correlation of \N{MINUS SIGN}0.50, on average over"
        in analyses.mistakes(MISTAKES, index(), "kernel_shap", 0.2, 3)[0]
    )
    assert "rank correlation" not in analyses.mistakes(MISTAKES, index(), "kernel_shap", 0.2, 2)[0]
    nothing = MISTAKES.assign(agreement=np.nan)
    assert "rank correlation" not in analyses.mistakes(nothing, index(), "kernel_shap", 0.2, 3)[0]
