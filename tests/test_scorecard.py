import numpy as np
import pandas as pd
import pytest

from glassbox import scorecard as s
from glassbox.names import CONTROLS

N = 12
DELETION, OTHER, EMPRT = "deletion_auc[mean]", "deletion_auc[blur]", "emprt[100 bins]"


def made(scores: dict[tuple[str, str], float], spread: float = 0.01) -> pd.DataFrame:
    """Values of N images around one for each subject; the second setting turns the order round."""
    rng = np.random.default_rng(0)
    parts = []
    for (kind, name), level in scores.items():
        values = level + spread * rng.uniform(-1, 1, N)
        columns = {"explainer": name, "kind": kind, "image": range(N), "forward_passes": 10.0,
                   "backward_passes": 0.0, DELETION: values}  # fmt: skip
        if kind in ("explainer", "control"):
            columns |= {OTHER: -values, EMPRT: [0.1] * 4 + [np.nan] * (N - 4) if name == "lime" else np.nan}
        parts.append(pd.DataFrame(columns))
    return pd.concat(parts, ignore_index=True)


SCORES = {
    ("explainer", "lime"): 0.2,
    ("explainer", "grad_cam"): 0.4,
    **{("control", name): 0.5 for name in CONTROLS},
    ("control", "edges"): 0.3,  # deletes better than Grad-CAM does
    ("untrained", "lime"): 0.5,
    ("untrained", "grad_cam"): 0.4,
    ("matched", "lime"): 0.25,
}


@pytest.fixture(scope="module")
def values():
    return made(SCORES)


def test_the_summary_has_a_row_for_each_subject_metric_and_setting(values):
    card = s.summarise(values, seed=0)
    rows = card[card["metric"] == "deletion_auc"]
    assert len(rows) == 2 * 8 + 3  # two settings of explainers and controls, the first one of the others
    first = rows[(rows["explainer"] == "lime") & (rows["kind"] == "explainer")].iloc[0]
    assert (first["setting"], first["ranks"], first["n"], first["direction"]) == ("mean", True, N, "lower is better")
    own = values[(values["explainer"] == "lime") & (values["kind"] == "explainer")][DELETION]
    assert first["mean"] == pytest.approx(own.mean())
    assert own.min() < first["low"] < first["mean"] < first["high"] < own.max()
    cost = card[(card["metric"] == "forward_passes") & (card["kind"] == "matched")].iloc[0]
    assert (cost["mean"], cost["property"]) == (10, "cost")
    few = card[(card["metric"] == "emprt") & (card["explainer"] == "lime")].iloc[0]
    assert (few["n"], few["mean"]) == (4, pytest.approx(0.1))
    none = card[(card["metric"] == "emprt") & (card["explainer"] == "grad_cam")].iloc[0]
    assert none["n"] == 0
    assert np.isnan(none["mean"])


def test_the_order_by_hand(values):
    row = s.rank(values, seed=0)["deletion_auc"]
    assert (row["n"], row["setting"]) == (N, "mean")
    assert list(row["mean_ranks"])[:3] == ["lime", "edges", "grad_cam"]
    assert list(row["mean_ranks"].values())[:3] == [1, 2, 3]  # the levels are further apart than the spread
    assert row["settings"] == {
        "mean": {"lime": 1, "grad_cam": 2}, "blur": {"grad_cam": 1, "lime": 2}
    }  # fmt: skip
    assert row["kendall"] == {"mean / blur": pytest.approx(-1)}
    assert row["matched"] == {"lime": 1}
    assert [(p["a"], p["b"]) for p in row["pairs"]] == [("lime", "grad_cam")]
    assert row["pairs"][0]["difference"] == pytest.approx(-0.2, abs=0.01)


def test_who_fails_to_beat_which_control(values):
    ranking = s.rank(values, seed=0)
    tests = {(t["explainer"], t["control"]): t["beaten"] for t in ranking["deletion_auc"]["controls"]}
    assert len(tests) == 2 * (len(CONTROLS) + 1)
    assert not tests["grad_cam", "edges"]
    assert not tests["grad_cam", "untrained grad_cam"]
    assert all(beaten for (name, control), beaten in tests.items() if name == "lime")
    assert ("lime", "untrained grad_cam") not in tests
    said = s.verdicts(ranking, {"lime": {"100 bins": True}, "edges": {"100 bins": False}})
    assert said == [
        "Deletion AUC: LIME beats every control; Grad-CAM does not beat Sobel edges or itself on an untrained network.",
        "eMPRT: every explainer passes: its maps become more complex when the learnt weights are lost.",
        "The order of the explainers hangs on the metric's settings by deletion AUC (Kendall's tau -1.00).",
    ]


def test_who_beats_no_control_is_said_in_short():
    values = made(SCORES | {("explainer", "grad_cam"): 0.6})
    said = s.verdicts(s.rank(values, seed=0), {})
    assert said[0] == "Deletion AUC: LIME beats every control; Grad-CAM beats no control."


def test_explainers_that_fail_to_beat_the_same_controls_share_a_sentence():
    values = made(SCORES | {("explainer", "occlusion"): 0.4, ("untrained", "occlusion"): 0.4})
    said = s.verdicts(s.rank(values, seed=0), {})
    assert said[0] == (
        "Deletion AUC: LIME beats every control; Grad-CAM and Occlusion do not beat Sobel edges or themselves on an "
        "untrained network."
    )


def test_a_difference_within_the_spread_is_not_beaten():
    values = made(SCORES | {("explainer", "lime"): 0.299}, spread=0.1)
    tests = s.rank(values, seed=0)["deletion_auc"]["controls"]
    assert {t["control"] for t in tests if t["explainer"] == "lime" and not t["beaten"]} >= {"edges"}


def test_too_few_images_are_not_compared(values):
    few = values[values["image"] < 3]
    assert s.verdicts(s.rank(few, seed=0), {})[0] == "Deletion AUC: 3 images are too few to compare, 10 at least."


@pytest.mark.parametrize("tests", [1, 14, 35, 40, 41])
def test_the_fewest_images_are_those_that_can_be_told_apart(tests):
    n = s.fewest(tests)
    assert tests * 2 / 2**n < 0.05 <= tests * 2 / 2 ** (n - 1)


def test_only_images_that_all_have_are_compared(values):
    some = values.copy()
    some.loc[(some["explainer"] == "grad_cam") & (some["image"] < 4), DELETION] = np.nan
    assert s.rank(some, seed=0)["deletion_auc"]["n"] == N - 4
    some.loc[some["explainer"] == "grad_cam", DELETION] = np.nan  # it has none at all: the others are still compared
    row = s.rank(some, seed=0)["deletion_auc"]
    assert row["n"] == N
    assert "grad_cam" not in row["mean_ranks"]


def test_emprt_passes_when_its_interval_is_above_zero():
    card = pd.DataFrame(
        {"explainer": ["lime", "lime", "edges"], "kind": ["explainer", "explainer", "control"], "metric": "emprt",
         "setting": ["100 bins", "50 bins", "100 bins"], "low": [0.1, -0.1, 0.0]}
    )  # fmt: skip
    passed = s.passes(card)
    assert passed == {"lime": {"100 bins": True, "50 bins": False}, "edges": {"100 bins": False}}
    assert s.verdicts({}, passed) == [
        "eMPRT: LIME fails: without the learnt weights the maps do not become more complex beyond chance."
    ]
