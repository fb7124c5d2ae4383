import json

import numpy as np
import pandas as pd
import pytest

from glassbox.report import hypotheses
from glassbox.report.hypotheses import OPEN, REFUTED, SUPPORTED, UNTESTED
from glassbox.statistics import bootstrap, paired


def tables(n: int = 48) -> dict:
    """A study on n recognised images and n mistakes in which all three hypotheses hold."""
    images = np.arange(n)
    index = pd.DataFrame({"explainer": "kernel_shap", "image": images, "group": "correct",
                          "true_class": "cat", "predicted_class": "cat",
                          "explained_class": "cat", "additivity_error": 1e-6})  # fmt: skip
    noise = index.assign(explainer="random", additivity_error=np.nan)
    recognised = pd.DataFrame({"group": "correct", "drop_own": 0.4 + images / 100, "drop_other": 0.1})
    mistakes = pd.DataFrame(
        {"explainer": "kernel_shap", "group": "mistake", "corrected": 1, "corrected_at_random": images / 100}
    )
    return {
        "metrics": {"accuracy": 0.85, "accuracy_low": 0.84, "accuracy_high": 0.86, "images": 1000},
        "target": 0.8, "index": pd.concat([index, noise]), "panels": None, "recognised": recognised,
        "mistakes": mistakes, "analyst": "kernel_shap", "seed": 0, "masks": True, "ranking": ranking(),
    }  # fmt: skip


def ranking(**outcomes: str) -> dict:
    """Shapley values against three controls by three metrics, with 20 images; `outcomes` by control, else "better"."""
    metrics = {}
    for metric, direction in (("deletion_auc", "lower is better"), ("road", "higher is better"),
                              ("excess_relevance_mass", "higher is better")):  # fmt: skip
        sign = 1 if direction == "higher is better" else -1
        tests = []
        for control, gain in (("edges", 0.3), ("random", 0.5), ("untrained kernel_shap", 0.4)):
            how = outcomes.get(control.partition(" ")[0], "better")
            gain = {"better": gain, "worse": -gain, "undecided": 0.05}[how]
            ends = sorted((sign * (gain - 0.1), sign * (gain + 0.1)))
            tests.append({"explainer": "kernel_shap", "control": control, "difference": sign * gain, "low": ends[0],
                          "high": ends[1], "p_holm": 0.2 if how == "undecided" else 0.01, "outcome": how})  # fmt: skip
        tests.append(tests[0] | {"explainer": "lime", "outcome": "worse"})
        metrics[metric] = {"direction": direction, "n": 20, "controls": tests}
    return {"metrics": metrics}


def verdicts(**changes) -> list[str]:
    return [row["verdict"] for row in hypotheses.check(**tables() | changes)]


def test_numbers_intervals_and_verdicts():
    first, second, third = hypotheses.check(**tables())
    assert [first["number"], second["number"], third["number"]] == [1, 2, 3]
    assert [first["verdict"], second["verdict"], third["verdict"]] == [SUPPORTED] * 3
    assert first["checks"][0]["value"] == 0.85
    additive, deletion, road, specific, inside = second["checks"]
    assert (additive["value"], additive["maps"], additive["images"]) == (1e-6, 48, 48)
    assert specific["value"] == pytest.approx(0.3 + 0.235)
    assert specific["low"] < specific["value"] < specific["high"]
    for check in (deletion, road, inside):  # against Sobel edges, which come closest; lower is better by deletion
        assert [check[name] for name in ("value", "low", "high", "images")] == pytest.approx([0.3, 0.2, 0.4, 20])
        assert check["controls"] == {
            "better": ["Sobel edges", "random", "itself on an untrained network"], "worse": [], "undecided": []
        }  # fmt: skip
    (correction,) = third["checks"]
    assert correction["value"] == pytest.approx(1 - 0.235)
    assert correction["images"] == 48
    assert (correction["low"], correction["high"]) == paired.share_interval(1 - np.arange(48) / 100)
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


@pytest.mark.parametrize("masks", [True, False])
@pytest.mark.parametrize(("outcomes", "verdict"), [
    ({}, SUPPORTED), ({"edges": "worse"}, REFUTED), ({"random": "undecided"}, OPEN),
    ({"random": "undecided", "untrained": "worse"}, REFUTED),
])  # fmt: skip
def test_maps_must_be_better_than_every_control(outcomes, verdict, masks):
    """What a map that ignores the model has is not enough: every control is one."""
    made = hypotheses.check(**tables() | {"ranking": ranking(**outcomes), "masks": masks})[1]
    localization = verdict if masks else UNTESTED
    assert [check["verdict"] for check in made["checks"]] == [SUPPORTED, verdict, verdict, SUPPORTED, localization]
    assert made["verdict"] == (OPEN if verdict == SUPPORTED and not masks else verdict)


def test_without_true_masks_nothing_is_said_of_objects():
    check = hypotheses.check(**tables() | {"masks": False})[1]["checks"][-1]
    assert (check["value"], check["images"], check["verdict"]) == (None, 0, UNTESTED)
    assert hypotheses.sentence(check) == (
        "Localization by excess relevance mass, Shapley values (superpixels) against the controls: not tested, because "
        "the data have no true masks."
    )


def test_a_map_that_ignores_the_model_is_not_class_discriminative():
    """It is the same for every class, so that what it hides of both is the same."""
    recognised = tables()["recognised"].assign(drop_own=np.arange(48) / 48, drop_other=np.arange(48) / 48)
    check = hypotheses.check(**tables() | {"recognised": recognised})[1]["checks"][3]
    assert (check["value"], check["verdict"]) == (0, OPEN)
    assert (check["low"], check["high"], "images_needed" in check) == (None, None, False)
    assert hypotheses.sentence(check).endswith(
        ": 0 on 48 images; above 0 is undecided; an interval takes values that differ, and all are the same."
    )


def test_explainers_that_were_not_scored_are_not_tested():
    made = hypotheses.check(**tables() | {"ranking": None})[1]
    assert [check["verdict"] for check in made["checks"]] == [SUPPORTED, UNTESTED, UNTESTED, SUPPORTED, UNTESTED]
    assert made["checks"][1]["why"] == "the explainers were not scored"
    assert made["verdict"] == OPEN
    for row in (few := ranking())["metrics"].values():
        row["controls"] = []
    assert "not scored by ROAD" in hypotheses.check(**tables() | {"ranking": few})[1]["checks"][2]["why"]


def test_the_outcome_is_that_of_the_corrected_test():
    """Neither the sign of the difference nor an interval that leaves out 0 makes it better or worse."""
    tests = [
        {
            "control": name,
            "difference": sign * 0.1,
            "low": sign * 0.1 - 0.05,
            "high": sign * 0.1 + 0.05,
            "p": 0.01,
            "p_holm": 0.2,
            "outcome": outcome,
        }
        for name, sign, outcome in (("edges", 1, "undecided"), ("random", -1, "undecided"), ("centre", -1, "better"))
    ]
    assert hypotheses.by_outcome(tests) == {
        "better": ["centred Gaussian"],
        "worse": [],
        "undecided": ["Sobel edges", "random"],
    }


def test_controls_with_which_no_image_is_compared():
    found = ranking()
    tests = found["metrics"]["road"]["controls"]
    tests[0] |= {"difference": None, "low": None, "high": None, "outcome": "undecided"}
    check = hypotheses.check(**tables() | {"ranking": found})[1]["checks"][2]
    assert (check["value"], check["verdict"], check["controls"]["undecided"]) == (0.4, OPEN, ["Sobel edges"])
    for test in tests:
        test["difference"] = None
    assert hypotheses.check(**tables() | {"ranking": found})[1]["checks"][2]["verdict"] == UNTESTED


def test_controls_without_an_interval():
    found = ranking(random="undecided")
    for row in found["metrics"].values():
        for test, missing in zip(row["controls"], (None, np.nan, None, None), strict=True):
            test["low"] = test["high"] = missing
    check = hypotheses.check(**tables() | {"ranking": found})[1]["checks"][1]
    assert (check["low"], check["high"]) == (None, None)
    assert hypotheses.sentence(check) == (
        "Faithfulness by deletion AUC: by how much Shapley values (superpixels) is better than random, the closest "
        "of 3 controls: 0.05 on 20 images; better than every control is undecided; it is better than Sobel edges and "
        "itself on an untrained network, undecided against random."
    )


def test_how_many_images_would_decide():
    """The mean of n values has an interval of 1.96 s / sqrt(n); 80 % of the samples decide where the mean is
    (1.96 + 0.84) s / sqrt(n) from the bound."""
    n, s, mean = 50, 1.0, 0.1
    half = 1.96 * s / n**0.5
    assert hypotheses._needed(n, mean, mean - half, mean + half) == int(np.ceil((2.8 * s / mean) ** 2)) == 784
    metrics = {"accuracy": 0.82, "accuracy_low": 0.78, "accuracy_high": 0.86, "images": 350}
    check = hypotheses.check(**tables() | {"metrics": metrics})[0]["checks"][0]
    assert check["images_needed"] == int(np.ceil(350 * (2.8 / 1.96 * 0.04 / 0.02) ** 2)) == 2858
    assert hypotheses.sentence(check).endswith(
        "is undecided; with this mean and spread about 2,900 images would decide it."
    )


def test_corrections_that_chance_makes_as_well_leave_it_open():
    mistakes = tables()["mistakes"].assign(corrected=[1, 0] * 24, corrected_at_random=0.5)
    assert verdicts(mistakes=mistakes)[2] == OPEN


def test_few_images_are_undecided_and_none_are_untested():
    few = hypotheses.check(**tables(bootstrap.FEWEST - 1))[1]["checks"][3]
    assert (few["low"], few["high"], few["verdict"]) == (None, None, OPEN)
    assert hypotheses.sentence(few).endswith(
        f"on {bootstrap.FEWEST - 1} images; above 0 is undecided; an interval takes at least {bootstrap.FEWEST} images."
    )
    none = tables()["mistakes"].iloc[:0]
    third = hypotheses.check(**tables() | {"mistakes": none})[2]
    assert third["verdict"] == UNTESTED
    assert third["checks"][0]["value"] is None
    assert hypotheses.sentence(third["checks"][0]).endswith("not tested, because no mistake was explained.")


def test_corrected_mistakes_have_an_interval_however_many_and_however_alike():
    """One image more that turns right, and one that random regions turn right: of two images mean 2 / 4, variance
    4 / 4 - 1 / 4; of eight mean 8 / 10, variance 10 / 10 - 64 / 100."""
    for n, mean, variance, verdict in ((2, 0.5, 0.75, OPEN), (8, 0.8, 0.36, SUPPORTED)):
        mistakes = tables(n)["mistakes"].assign(corrected_at_random=0)
        (check,) = hypotheses.check(**tables() | {"mistakes": mistakes})[2]["checks"]
        half = 1.959964 * (variance / (n + 2)) ** 0.5
        assert [check["low"], check["high"]] == pytest.approx([mean - half, min(1, mean + half)])
        assert (check["value"], check["verdict"]) == (1, verdict)
    (check,) = hypotheses.check(**tables() | {"mistakes": mistakes.assign(corrected=0)})[2]["checks"]
    assert (check["value"], check["verdict"]) == (0, OPEN)
    assert -check["low"] == check["high"] > 0.2  # that none of eight turned right does not say that none ever does


def test_an_interval_that_cannot_be_had_decides_nothing(monkeypatch):
    monkeypatch.setattr(bootstrap, "interval", lambda *_: (float("nan"), float("nan")))
    check = hypotheses.check(**tables())[1]["checks"][3]
    assert (check["low"], check["high"], check["verdict"]) == (None, None, OPEN)
    json.dumps(check, allow_nan=False)


def test_without_kernel_shap_the_first_explainer_is_judged():
    index = tables()["index"].replace({"explainer": {"kernel_shap": "lime"}})
    index = index.drop(columns="additivity_error")
    mistakes = tables()["mistakes"].assign(explainer="lime")
    lime = ranking()
    for row in lime["metrics"].values():
        row["controls"] = [test for test in row["controls"] if test["explainer"] == "lime"]
    made = hypotheses.check(
        **tables() | {"index": index, "mistakes": mistakes, "analyst": "lime", "recognised": tables(0)["recognised"],
                    "ranking": lime}
    )  # fmt: skip
    assert [check["verdict"] for check in made[1]["checks"]] == [UNTESTED] * 5  # it speaks of SHAP
    assert made[1]["verdict"] == UNTESTED
    assert made[2]["verdict"] == SUPPORTED
    assert "LIME" in made[2]["checks"][0]["what"]


def test_only_images_drawn_at_random_are_judged():
    for group in ("chosen", "pair"):
        index, recognised, mistakes = (tables()[name].copy() for name in ("index", "recognised", "mistakes"))
        for table in (index, recognised, mistakes):
            table.loc[table.index[0], "group"] = group
        _, second, third = hypotheses.check(
            **tables() | {"index": index, "recognised": recognised, "mistakes": mistakes}
        )
        assert [second["checks"][place]["images"] for place in (0, 3)] == [48, 47]  # every map must add up
        assert third["checks"][0]["images"] == 47


def test_a_check_in_words():
    sentence = hypotheses.sentence(hypotheses.check(**tables())[0]["checks"][0])
    assert sentence == (
        "Share of the test images that are recognised: 0.85 [0.84, 0.86] on 1,000 images; above 0.8 is supported."
    )
