import json

import numpy as np
import pandas as pd
import pytest

from glassbox.report import hypotheses
from glassbox.report.hypotheses import OPEN, REFUTED, SUPPORTED, UNTESTED
from glassbox.report.study import Study
from glassbox.statistics import bootstrap, paired


def tables(n: int = 48) -> dict:
    """Results on n recognised images and n mistakes in which all three hypotheses hold."""
    images = np.arange(n)
    index = pd.DataFrame({"image": images, "group": "correct"})
    index[["true_class", "predicted_class", "explained_class"]] = "cat"
    shap = index.assign(explainer="kernel_shap", additivity_error=1e-6)
    mistakes = {"explainer": "kernel_shap", "group": "mistake", "corrected": 1, "corrected_at_random": images / 100}
    return {
        "metrics": {"accuracy": 0.85, "accuracy_low": 0.84, "accuracy_high": 0.86, "images": 1000},
        "index": pd.concat([shap, index.assign(explainer="random", additivity_error=np.nan)]),
        "recognised": pd.DataFrame({"group": "correct", "drop_own": 0.4 + images / 100, "drop_other": 0.1}),
        "mistakes": pd.DataFrame(mistakes),
        "card": {"has_masks": True},
        "ranking": ranking(),
        "gate": {"checks": [], "refusal": None},
    }


def ranking(**outcomes: str) -> dict:
    """Shapley values against three controls by three metrics, with 20 images; `outcomes` by control, else "better"."""
    metrics = {}
    for metric, sign in (("deletion_auc", -1), ("road", 1), ("excess_relevance_mass", 1)):
        tests = []
        for control, gain in (("edges", 0.3), ("random", 0.5), ("untrained kernel_shap", 0.4)):
            outcome = outcomes.get(control.partition(" ")[0], "better")
            gain = {"better": gain, "worse": -gain, "undecided": 0.05}[outcome]
            low, high = sorted((sign * (gain - 0.1), sign * (gain + 0.1)))
            about = {"explainer": "kernel_shap", "control": control, "outcome": outcome}
            tests.append(about | {"difference": sign * gain, "low": low, "high": high})
        tests.append(tests[0] | {"explainer": "lime", "outcome": "worse"})
        direction = "higher is better" if sign == 1 else "lower is better"
        metrics[metric] = {"direction": direction, "n": 20, "controls": tests}
    return {"metrics": metrics}


@pytest.fixture
def check(params):
    """Checks the hypotheses on `tables` with some of them changed; the target accuracy is 0.8."""

    def run(n: int = 48, **changes) -> list[dict]:
        nothing = dict.fromkeys(Study.__dataclass_fields__)
        return hypotheses.check(Study(**nothing | {"params": params} | tables(n) | changes))

    return run


def verdicts(checked: dict) -> list[str]:
    return [check["verdict"] for check in checked["checks"]]


def test_numbers_intervals_and_verdicts(check):
    first, second, third = checked = check()
    assert [row["number"] for row in checked] == [1, 2, 3]
    assert [row["verdict"] for row in checked] == [SUPPORTED] * 3
    assert first["checks"][0]["value"] == 0.85
    assert hypotheses.sentence(first["checks"][0]) == (
        "Share of the test images that are recognised: 0.85 [0.84, 0.86] on 1,000 images; above 0.8 is supported."
    )
    additive, deletion, road, specific, inside = second["checks"]
    assert (additive["value"], additive["maps"], additive["images"]) == (1e-6, 48, 48)
    assert specific["value"] == pytest.approx(0.3 + 0.235)
    assert specific["low"] < specific["value"] < specific["high"]
    controls = {"better": ["Sobel edges", "random", "itself on an untrained network"], "worse": [], "undecided": []}
    for row in (deletion, road, inside):  # against Sobel edges, which come closest; lower is better by deletion
        assert [row[name] for name in ("value", "low", "high", "images")] == pytest.approx([0.3, 0.2, 0.4, 20])
        assert row["controls"] == controls
    (correction,) = third["checks"]
    assert correction["value"] == pytest.approx(1 - 0.235)
    assert correction["images"] == 48
    assert (correction["low"], correction["high"]) == paired.share_interval(1 - np.arange(48) / 100)
    assert check() == checked


@pytest.mark.parametrize(("low", "high", "verdict"), [(0.81, 0.9, SUPPORTED), (0.79, 0.83, OPEN), (0.7, 0.79, REFUTED)])
def test_the_accuracy_must_be_above_the_target_with_its_whole_interval(check, low, high, verdict):
    metrics = {"accuracy": 0.8, "accuracy_low": low, "accuracy_high": high, "images": 9}
    assert check(metrics=metrics)[0]["verdict"] == verdict


def test_one_map_that_does_not_add_up_refutes(check):
    index = tables()["index"]
    index.iloc[3, index.columns.get_loc("additivity_error")] = 0.002
    assert check(index=index)[1]["verdict"] == REFUTED
    panels = pd.DataFrame({"image": [1, 1], "additivity_error": [1e-7, 2e-3]})  # checked instead, where they exist
    checked = check(panels=panels)[1]
    assert checked["verdict"] == REFUTED
    assert [checked["checks"][0][name] for name in ("value", "maps", "images")] == [2e-3, 2, 1]


@pytest.mark.parametrize("masks", [True, False])
@pytest.mark.parametrize(
    ("outcomes", "verdict"),
    [
        ({}, SUPPORTED),
        ({"edges": "worse"}, REFUTED),
        ({"random": "undecided"}, OPEN),
        ({"random": "undecided", "untrained": "worse"}, REFUTED),
    ],
)
def test_maps_must_be_better_than_every_control(check, outcomes, verdict, masks):
    checked = check(ranking=ranking(**outcomes), card={"has_masks": masks})[1]
    assert verdicts(checked) == [SUPPORTED, verdict, verdict, SUPPORTED, verdict if masks else UNTESTED]
    assert checked["verdict"] == (OPEN if verdict == SUPPORTED and not masks else verdict)
    if not masks:
        row = checked["checks"][-1]
        assert (row["value"], row["images"]) == (None, 0)
        assert hypotheses.sentence(row) == (
            "Localization by excess relevance mass, Shapley values (superpixels) against the controls: not tested, "
            "because the data have no true masks."
        )


@pytest.mark.parametrize(
    ("outcome", "verdict"), [("truth", SUPPORTED), ("plausibility", UNTESTED), ("undecided", UNTESTED)]
)
def test_localization_is_tested_only_by_masks_that_are_the_truth(check, outcome, verdict):
    checked = check(gate={"masks": {"outcome": outcome}})[1]
    assert verdicts(checked)[-1] == verdict
    if verdict == UNTESTED:
        why = "not tested, because it is not shown that the model uses what the masks mark."
        assert hypotheses.sentence(checked["checks"][-1]).endswith(why)


def test_a_map_that_ignores_the_model_is_not_class_discriminative(check):
    """It is the same for every class, and so are the regions that it hides."""
    recognised = tables()["recognised"].assign(drop_own=np.arange(48) / 48, drop_other=np.arange(48) / 48)
    row = check(recognised=recognised)[1]["checks"][3]
    assert (row["value"], row["verdict"]) == (0, OPEN)
    assert (row["low"], row["high"], "images_needed" in row) == (None, None, False)
    assert hypotheses.sentence(row).endswith(
        ": 0 on 48 images; above 0 is undecided; an interval takes values that differ, and all are the same."
    )
    json.dumps(row, allow_nan=False)


def test_explainers_that_were_not_scored_are_not_tested(check):
    checked = check(ranking=None)[1]
    assert verdicts(checked) == [SUPPORTED, UNTESTED, UNTESTED, SUPPORTED, UNTESTED]
    assert checked["checks"][1]["why"] == "the explainers were not scored"
    assert checked["verdict"] == OPEN
    unscored = {"metrics": {name: row | {"controls": []} for name, row in ranking()["metrics"].items()}}
    assert "not scored by ROAD" in check(ranking=unscored)[1]["checks"][2]["why"]


def test_the_outcome_is_that_of_the_corrected_test():
    """Neither the sign of the difference nor an interval that excludes 0 makes it better or worse."""
    tests = [
        {"control": name, "difference": d, "low": d - 0.05, "high": d + 0.05, "p": 0.01, "outcome": outcome}
        for name, d, outcome in (("edges", 0.1, "undecided"), ("random", -0.1, "undecided"), ("centre", -0.1, "better"))
    ]
    better, undecided = ["centred Gaussian"], ["Sobel edges", "random"]
    assert hypotheses.by_outcome(tests) == {"better": better, "worse": [], "undecided": undecided}


def test_controls_that_share_no_image_with_the_explainer(check):
    scores = ranking()
    tests = scores["metrics"]["road"]["controls"]
    tests[0] |= {"difference": None, "low": None, "high": None, "outcome": "undecided"}
    row = check(ranking=scores)[1]["checks"][2]
    assert (row["value"], row["verdict"], row["controls"]["undecided"]) == (0.4, OPEN, ["Sobel edges"])
    for test in tests:
        test["difference"] = None
    assert check(ranking=scores)[1]["checks"][2]["verdict"] == UNTESTED


def test_controls_without_an_interval(check):
    scores = ranking(random="undecided")
    for row in scores["metrics"].values():
        for test, missing in zip(row["controls"], (None, np.nan, None, None), strict=True):
            test["low"] = test["high"] = missing
    row = check(ranking=scores)[1]["checks"][1]
    assert (row["low"], row["high"]) == (None, None)
    assert hypotheses.sentence(row) == (
        "Faithfulness by deletion AUC: by how much Shapley values (superpixels) is better than random, the closest "
        "of 3 controls: 0.05 on 20 images; better than every control is undecided; it is better than Sobel edges and "
        "itself on an untrained network, undecided against random."
    )


def test_how_many_images_would_decide(check):
    """The mean of n values has an interval of 1.96 s / sqrt(n); 80 % of the samples decide where the mean is
    (1.96 + 0.84) s / sqrt(n) from the bound."""
    n, s, mean = 50, 1.0, 0.1
    half = 1.96 * s / n**0.5
    assert hypotheses._needed(n, mean, mean - half, mean + half) == int(np.ceil((2.8 * s / mean) ** 2)) == 784
    metrics = {"accuracy": 0.82, "accuracy_low": 0.78, "accuracy_high": 0.86, "images": 350}
    row = check(metrics=metrics)[0]["checks"][0]
    assert row["images_needed"] == int(np.ceil(350 * (2.8 / 1.96 * 0.04 / 0.02) ** 2)) == 2858
    assert hypotheses.sentence(row).endswith(
        "is undecided; with this mean and spread about 2,900 images would decide it."
    )


def test_few_images_are_undecided_and_none_are_untested(check):
    few = check(bootstrap.FEWEST - 1)[1]["checks"][3]
    assert (few["low"], few["high"], few["verdict"]) == (None, None, OPEN)
    assert hypotheses.sentence(few).endswith(
        f"on {bootstrap.FEWEST - 1} images; above 0 is undecided; an interval takes at least {bootstrap.FEWEST} images."
    )
    third = check(mistakes=tables(0)["mistakes"])[2]
    assert third["verdict"] == UNTESTED
    assert third["checks"][0]["value"] is None
    assert hypotheses.sentence(third["checks"][0]).endswith("not tested, because no mistake was explained.")


@pytest.mark.parametrize(
    ("n", "corrected", "at_random", "mean", "variance", "verdict"),
    [
        (2, 1, 0, 2 / 4, 4 / 4 - 1 / 4, OPEN),
        (8, 1, 0, 8 / 10, 10 / 10 - 64 / 100, SUPPORTED),
        (8, 0, 0, 0, 2 / 10, OPEN),  # none of eight is corrected, which does not mean that none ever is
        (48, [1, 0] * 24, 0.5, 0, (48 / 4 + 2) / 50, OPEN),  # random regions correct as many
    ],
)
def test_corrected_mistakes_have_an_interval_for_any_number(check, n, corrected, at_random, mean, variance, verdict):
    """Two images are added, of which one is corrected by the named regions and the other by random ones: the interval
    is that of the mean of n + 2 values."""
    mistakes = tables(n)["mistakes"].assign(corrected=corrected, corrected_at_random=at_random)
    (row,) = check(mistakes=mistakes)[2]["checks"]
    half = 1.959964 * (variance / (n + 2)) ** 0.5
    assert [row["low"], row["high"]] == pytest.approx([mean - half, min(1, mean + half)])
    assert (row["value"], row["verdict"]) == (np.mean(corrected) - at_random, verdict)


def test_without_kernel_shap_only_the_mistakes_are_judged(check, params):
    explain = params.explain.model_copy(update={"explainers": ("lime",)})
    scores = {"metrics": {}}
    for name, row in ranking()["metrics"].items():
        tests = [test for test in row["controls"] if test["explainer"] == "lime"]
        scores["metrics"][name] = row | {"controls": tests}
    _, second, third = check(
        params=params.model_copy(update={"explain": explain}),
        index=tables()["index"].replace({"explainer": {"kernel_shap": "lime"}}).drop(columns="additivity_error"),
        mistakes=tables()["mistakes"].assign(explainer="lime"),
        recognised=tables(0)["recognised"],
        ranking=scores,
    )
    assert verdicts(second) == [UNTESTED] * 5  # they are about SHAP
    assert second["verdict"] == UNTESTED
    assert third["verdict"] == SUPPORTED
    assert "LIME" in third["checks"][0]["what"]


@pytest.mark.parametrize("group", ["chosen", "pair"])
def test_only_images_drawn_at_random_are_judged(check, group):
    changed = {name: tables()[name] for name in ("index", "recognised", "mistakes")}
    for table in changed.values():
        table.loc[table.index[0], "group"] = group
    _, second, third = check(**changed)
    assert [second["checks"][place]["images"] for place in (0, 3)] == [48, 47]  # every map must add up
    assert third["checks"][0]["images"] == 47
