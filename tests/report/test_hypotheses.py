import numpy as np
import pandas as pd
import pytest

from glassbox.report import hypotheses
from glassbox.report.hypotheses import OPEN, REFUTED, SUPPORTED, UNTESTED


def tables(n: int = 8) -> dict:
    """A study on n recognised images and n mistakes in which all three hypotheses hold."""
    images = np.arange(n)
    index = pd.DataFrame({"explainer": "kernel_shap", "image": images, "group": "correct",
                          "true_class": "cat", "predicted_class": "cat",
                          "explained_class": "cat", "relevance_mass": 0.6 + images / 100, "object_area": 0.3,
                          "additivity_error": 1e-6})  # fmt: skip
    noise = index.assign(explainer="random", relevance_mass=0.3, additivity_error=np.nan)
    recognised = pd.DataFrame({"group": "correct", "drop_own": 0.4 + images / 100, "drop_other": 0.1})
    mistakes = pd.DataFrame(
        {"explainer": "kernel_shap", "group": "mistake", "corrected": 1, "corrected_at_random": images / 100}
    )
    return {
        "metrics": {"accuracy": 0.85, "accuracy_low": 0.84, "accuracy_high": 0.86, "images": 1000},
        "target": 0.8, "index": pd.concat([index, noise]), "panels": None, "recognised": recognised,
        "mistakes": mistakes, "analyst": "kernel_shap", "seed": 0, "marked": False,
    }  # fmt: skip


def verdicts(**changes) -> list[str]:
    return [row["verdict"] for row in hypotheses.check(**tables() | changes)]


def test_numbers_intervals_and_verdicts():
    first, second, third = hypotheses.check(**tables())
    assert [first["number"], second["number"], third["number"]] == [1, 2, 3]
    assert [first["verdict"], second["verdict"], third["verdict"]] == [SUPPORTED] * 3
    assert first["checks"][0]["value"] == 0.85
    additive, specific, inside = second["checks"]
    assert (additive["value"], additive["maps"], additive["images"]) == (1e-6, 8, 8)
    assert specific["value"] == pytest.approx(0.3 + 0.035)
    assert specific["low"] < specific["value"] < specific["high"]
    assert inside["value"] == pytest.approx(0.3 + 0.035)
    (correction,) = third["checks"]
    assert correction["value"] == pytest.approx(1 - 0.035)
    assert correction["images"] == 8
    assert hypotheses.check(**tables()) == hypotheses.check(**tables())


def test_the_accuracy_must_be_above_the_target_with_its_whole_interval():
    for low, high, verdict in ((0.81, 0.9, SUPPORTED), (0.79, 0.83, OPEN), (0.7, 0.79, REFUTED)):
        metrics = {"accuracy": 0.8, "accuracy_low": low, "accuracy_high": high, "images": 9}
        assert verdicts(metrics=metrics)[0] == verdict


def test_one_map_that_does_not_add_up_is_enough():
    index = tables()["index"]
    index.iloc[3, index.columns.get_loc("additivity_error")] = 0.002
    assert verdicts(index=index)[1] == REFUTED


def test_panels_are_checked_where_there_are_any():
    panels = pd.DataFrame({"image": [1, 1], "additivity_error": [1e-7, 2e-3]})
    assert verdicts(panels=panels)[1] == REFUTED
    check = hypotheses.check(**tables() | {"panels": panels})[1]["checks"][0]
    assert (check["value"], check["maps"], check["images"]) == (2e-3, 2, 1)


def test_maps_that_point_elsewhere_refute():
    index = tables()["index"]
    index["relevance_mass"] = 0.2
    assert verdicts(index=index)[1] == REFUTED


def test_corrections_that_chance_makes_as_well_leave_it_open():
    mistakes = tables()["mistakes"].assign(corrected=[1, 0] * 4, corrected_at_random=0.5)
    assert verdicts(mistakes=mistakes)[2] == OPEN


def test_few_images_are_undecided_and_none_are_untested():
    assert [row["verdict"] for row in hypotheses.check(**tables(4))] == [SUPPORTED, OPEN, OPEN]
    none = tables()["mistakes"].iloc[:0]
    third = hypotheses.check(**tables() | {"mistakes": none})[2]
    assert third["verdict"] == UNTESTED
    assert third["checks"][0]["value"] is None
    assert hypotheses.sentence(third["checks"][0]).endswith("nothing to measure.")


def test_without_kernel_shap_the_first_explainer_is_judged():
    index = tables()["index"].replace({"explainer": {"kernel_shap": "lime"}})
    index = index.drop(columns="additivity_error")
    mistakes = tables()["mistakes"].assign(explainer="lime")
    made = hypotheses.check(
        **tables() | {"index": index, "mistakes": mistakes, "analyst": "lime", "recognised": tables(0)["recognised"]}
    )
    assert [check["verdict"] for check in made[1]["checks"]] == [UNTESTED] * 3  # it speaks of SHAP
    assert made[1]["verdict"] == UNTESTED
    assert made[2]["verdict"] == SUPPORTED
    assert "LIME" in made[2]["checks"][0]["what"]


def test_only_an_object_that_nobody_marked_is_an_estimate():
    for marked, said in ((True, "where the object is, beyond"), (False, "where the object is estimated to be, beyond")):
        assert said in hypotheses.check(**tables() | {"marked": marked})[1]["checks"][2]["what"]


def test_images_without_a_found_object_are_left_out():
    index = tables()["index"]
    index.iloc[:2, index.columns.get_loc("relevance_mass")] = np.nan
    assert hypotheses.check(**tables() | {"index": index})[1]["checks"][2]["images"] == 6


def test_only_images_drawn_at_random_are_judged():
    for group in ("chosen", "pair"):
        index, recognised, mistakes = (tables()[name].copy() for name in ("index", "recognised", "mistakes"))
        for table in (index, recognised, mistakes):
            table.loc[table.index[0], "group"] = group
        _, second, third = hypotheses.check(
            **tables() | {"index": index, "recognised": recognised, "mistakes": mistakes}
        )
        assert [check["images"] for check in second["checks"]] == [8, 7, 7]  # every map must add up
        assert third["checks"][0]["images"] == 7


def test_maps_that_are_not_shown_are_not_judged():
    index = tables()["index"]
    index.iloc[3, index.columns.get_loc("additivity_error")] = 0.002
    assert hypotheses.check(**tables() | {"index": index})[1]["checks"][2]["images"] == 7


def test_a_check_in_words():
    sentence = hypotheses.sentence(hypotheses.check(**tables())[0]["checks"][0])
    assert sentence == (
        "Share of the test images that are recognised: 0.85 [0.84, 0.86] on 1,000 images; above 0.8 is supported."
    )
