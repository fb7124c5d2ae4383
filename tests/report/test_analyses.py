import io

import numpy as np
import pandas as pd
import pytest

from glassbox.core.text import MINUS
from glassbox.report import analyses

INDEX = """
explainer,image,true_class,predicted_class,explained_class,relevance_mass,object_area,base_value,evidence_for,evidence_against
kernel_shap,1,cat,cat,cat,0.7,0.4,0.2,0.5,-0.1
kernel_shap,2,dog,cat,cat,0.5,0.5,0.3,0.62,-0.2
kernel_shap,2,dog,cat,dog,0.5,0.5,0.4,0.1,-0.35
random,1,cat,cat,cat,0.41,0.4,,,
"""
MISTAKES = """
image,true_class,predicted_class,explainer,p_true,p_true_after,corrected,corrected_at_random,agreement
2,dog,cat,kernel_shap,0.2,0.8,1,0.25,-0.5
"""
PAIRS = """
explainer,a_class,b_class,agreement
kernel_shap,cat,dog,-0.5
kernel_shap,cat,dog,-0.7
kernel_shap,hen,owl,0.9
"""
TESTS = [("kernel_shap", "random", "better"), ("kernel_shap", "centre", "worse"), ("lime", "centre", "better")]
CONTROLS = [dict(zip(("explainer", "control", "outcome"), test, strict=True)) for test in TESTS]
RANKING = {"metrics": {"excess_relevance_mass": {"n": 12, "direction": "higher is better", "controls": CONTROLS}}}
DROPS = pd.DataFrame({"drop_own": [0.5, 0.7], "drop_other": [0.1, 0.1]})


@pytest.fixture
def index() -> pd.DataFrame:
    return pd.read_csv(io.StringIO(INDEX))


@pytest.fixture
def mistakes() -> pd.DataFrame:
    return pd.read_csv(io.StringIO(MISTAKES))


def test_recognised_images(index):
    inside, drop = analyses.recognised(index, DROPS, "kernel_shap", RANKING)
    assert inside == (
        "For the predicted class of recognised images, 70 % of the positive attribution of Shapley values "
        "(superpixels) lies inside the true mask, which covers 40 % of the image (mean over 1 image). By excess "
        "relevance mass on 12 scored images, Shapley values (superpixels) is better than random, worse than "
        "centred Gaussian."
    )
    assert drop == (
        "Blurring the regions that Shapley values (superpixels) ranks first for the class changes the class's "
        f"probability by {MINUS}0.60 on average, blurring those for the next class by {MINUS}0.10 (2 images)."
    )
    assert analyses.recognised(index, DROPS.iloc[:0], "kernel_shap", RANKING) == [inside]
    assert analyses.recognised(index.iloc[:0], DROPS, "kernel_shap", None) == ["No recognised image was explained."]
    (inside,) = analyses.recognised(index, DROPS.iloc[:0], "kernel_shap", None)
    assert inside.endswith("Whether maps that ignore the model reach as much was not tested.")
    (inside,) = analyses.recognised(index, DROPS.iloc[:0], "kernel_shap", RANKING, plausible=True)
    assert "lies inside the mask, which covers 40 %" in inside
    assert inside.endswith("This is plausibility: it is not shown that the model uses what the masks mark.")
    without_masks = index.drop(columns=["relevance_mass", "object_area"])
    assert analyses.recognised(without_masks, DROPS, "kernel_shap", RANKING) == [drop]
    assert analyses.recognised(index.assign(relevance_mass=np.nan), DROPS.iloc[:0], "kernel_shap", RANKING) == []


def test_mistakes(index, mistakes):
    summary, image = analyses.mistakes(mistakes, index, "kernel_shap", 0.2, 3)
    blurred = (
        "Blurring the regions that by Shapley values (superpixels) speak most for the predicted and least for the true "
        "class (20 % of the image) corrects 1 of 1 mistakes; blurring random regions corrects 25 %."
    )
    assert summary == (
        f"{blurred} Between the maps of the two classes, the values of the regions have a rank correlation of "
        f"{MINUS}0.50 (mean over 1 image)."
    )
    assert image == (
        f"Image 2 (dog, taken for cat): the Shapley values for cat sum to +0.62 and {MINUS}0.20, those for dog to "
        f"+0.10 and {MINUS}0.35; after blurring, the probability of dog is 0.80 instead of 0.20."
    )
    for table, classes in ((mistakes, 2), (mistakes.assign(agreement=np.nan), 3)):  # opposite by definition; unknown
        assert analyses.mistakes(table, index, "kernel_shap", 0.2, classes)[0] == blurred
    assert analyses.mistakes(mistakes.iloc[:0], index, "kernel_shap", 0.2, 3) == ["No mistake was explained."]
    _, image = analyses.mistakes(mistakes.assign(explainer="lime"), index.iloc[:0], "lime", 0.2, 3)
    assert image == "Image 2 (dog, taken for cat): after blurring, the probability of dog is 0.80 instead of 0.20."


def test_pairs():
    table = pd.read_csv(io.StringIO(PAIRS))
    cats, hens, meaning = analyses.pairs(table, "kernel_shap", 10)
    assert cats == (
        f"cat and dog (2 images): rank correlation of the regions' values for the two classes {MINUS}0.50 and "
        f"{MINUS}0.70."
    )
    assert hens == "hen and owl (1 image): rank correlation of the regions' values for the two classes +0.90."
    assert meaning.endswith("These are single images, not a test.")
    assert analyses.pairs(table.iloc[:0], "kernel_shap", 10) == ["No confusable pair was explained."]
    nothing, _ = analyses.pairs(table.iloc[:1].assign(agreement=np.nan), "kernel_shap", 10)
    assert nothing == "cat and dog: no map ranks the regions, so there is nothing to compare."
    (of_two,) = analyses.pairs(table.iloc[:2], "kernel_shap", 2)
    assert "by definition" in of_two
