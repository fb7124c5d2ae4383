import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from glassbox.explainers.catalog import CONTROLS, EXPLAINERS, TITLES
from glassbox.figures import scorecard, shortcut
from glassbox.scoring.scorecard import Scorecard
from glassbox.statistics.outcomes import OUTCOMES
from glassbox.xai_metrics.catalog import MEASUREMENTS

from .conftest import has_ink, words

RNG = np.random.default_rng(0)


def card(explainers: list[str], n: int = 20) -> pd.DataFrame:
    subjects = [(name, kind) for kind in ("explainer", "untrained", "matched") for name in explainers]
    subjects += [(name, "control") for name in CONTROLS]
    rows = []
    for name, kind in subjects:
        about = {"explainer": name, "kind": kind, "n": n}
        for metric, prop in (("deletion_auc", "faithfulness"), ("road", "faithfulness"),
                             ("excess_relevance_mass", "localization"), ("emprt", "dependence")):  # fmt: skip
            mean = RNG.normal()
            direction = "lower is better" if metric == "deletion_auc" else "higher is better"
            rows.append(about | {"metric": metric, "setting": "mean", "ranks": True, "property": prop, "mean": mean,
                                 "direction": direction, "low": mean - 0.1, "high": mean + 0.1})  # fmt: skip
        rows += [
            about | {"metric": cost, "setting": "", "ranks": False, "property": "cost", "mean": float(paid),
                     "direction": "lower is better", "low": 0, "high": 0}
            for cost, paid in (("forward_passes", RNG.integers(1, 1000)), ("backward_passes", 0))
        ]  # fmt: skip
    return pd.DataFrame(rows)


@pytest.mark.parametrize(("explainers", "n"), [(EXPLAINERS, 20), (["lime"], 3)])
def test_the_forest_names_everyone_and_says_what_is_better(tmp_path, drawn, explainers, n):
    scorecard.forest(
        tmp_path / "f.png", card(explainers, n), ["deletion_auc", "road", "excess_relevance_mass", "emprt"]
    )
    said = words(drawn[0])
    assert {TITLES[name] for name in explainers} | set(CONTROLS.values()) <= said
    assert f"{MEASUREMENTS['deletion_auc']}, mean\n← better" in said
    assert f"{MEASUREMENTS['road']}, mean\n→ better" in said
    assert has_ink(tmp_path / "f.png")


@pytest.mark.parametrize("names", [[*EXPLAINERS, *CONTROLS], ["lime", "random"]])
def test_ranks_are_in_their_places_and_cliques_are_joined(tmp_path, drawn, names):
    ranks = {name: 1.0 + place for place, name in enumerate(names)}
    row = {"mean_ranks": ranks, "cliques": [tuple(names[:2])], "n": 24, "ranked": 20}
    scorecard.critical_difference(tmp_path / "c.png", "road", row)
    said = words(drawn[0])
    assert f"{scorecard.title_of(names[0])}  1.0" in said
    assert f"{len(names)}.0  {scorecard.title_of(names[-1])}" in said
    assert "Mean rank by ROAD, 20 images; a bar joins explainers that are not told apart" in said
    axis = drawn[0].axes[0]
    bars = [lines for lines in axis.collections if lines.get_linewidth()[0] == 3]
    (bar,) = bars
    ends = bar.get_segments()[0][:, 0]
    assert ends[0] < 1 < 2 < ends[1] < 3


def test_nothing_is_joined_where_all_can_be_told_apart(tmp_path, drawn):
    row = {"mean_ranks": {"lime": 1.0, "random": 2.0}, "cliques": [], "n": 24, "ranked": 20}
    scorecard.critical_difference(tmp_path / "c.png", "road", row)
    assert "Mean rank by ROAD, 20 images" in words(drawn[0])


@pytest.mark.parametrize(("explainers", "n"), [(EXPLAINERS, 20), (["lime"], 3)])
def test_faithfulness_against_cost(tmp_path, drawn, explainers, n):
    scorecard.faithfulness_and_cost(tmp_path / "f.png", card(explainers, n))
    assert {"deletion AUC ↓", "ROAD ↑"} | {TITLES[name] for name in explainers} <= words(drawn[0])
    assert has_ink(tmp_path / "f.png")


def test_a_metric_that_no_image_has_is_left_out_of_the_costs(tmp_path, drawn):
    some = card(EXPLAINERS, 20)
    none = some["metric"] == "road"
    some.loc[none, ["mean", "low", "high"]], some.loc[none, "n"] = np.nan, 0
    scorecard.faithfulness_and_cost(tmp_path / "f.png", some)
    assert "deletion AUC ↓" in words(drawn[0])
    assert "ROAD ↑" not in words(drawn[0])


def test_explainers_keep_their_marker_and_colour_in_every_study():
    looks = {(scorecard.COLOURS[place % len(scorecard.COLOURS)], scorecard.SHAPES[name])
             for place, name in enumerate(TITLES)}  # fmt: skip
    assert len(looks) == len(TITLES)


def test_randomization_draws_explainers_and_no_controls(tmp_path, drawn):
    rows = [
        {"explainer": name, "step": step, "randomised_from": layer, "image": image, "entropy_rise": RNG.normal(),
         "rank_agreement": RNG.uniform(-1, 1)}
        for name in ("lime", "edges") for step, layer in ((1, "fc"), (2, "a.very.long.name.of.a.layer.conv1"))
        for image in range(3)
    ]  # fmt: skip
    scorecard.randomization(tmp_path / "r.png", pd.DataFrame(rows))
    said = words(drawn[0])
    assert "LIME" in said
    assert "Sobel edges" not in said
    assert "fc" in said
    assert any(text.startswith("…") and text.endswith("layer.conv1") for text in said)


def test_the_contrast_of_a_shortcut(tmp_path, drawn):
    rows = pd.DataFrame(
        {"explainer": ["lime", "grad_cam", "edges"], "confounded": [0.5, 0.3, 0.2], "control": [0.1, 0.3, 0.2],
         "contrast": [0.4, 0.01, 0.0], "low": [0.3, -0.1, np.nan], "high": [0.5, 0.1, np.nan],
         "outcome": ["better", "undecided", "undecided"]}
    )  # fmt: skip
    shortcut.contrast(tmp_path / "s.png", rows)
    assert {"LIME", "Grad-CAM", "Sobel edges"} <= words(drawn[0])
    right = drawn[0].axes[1]
    points = {line.get_xdata()[0]: line.get_markerfacecolor() for line in right.lines if line.get_marker() == "o"}
    assert {x: face != "white" for x, face in points.items()} == {0.4: True, 0.01: False, 0.0: False}
    assert len(intervals(right)) == 2  # those that there are
    image = RNG.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    maps = {name: (RNG.normal(size=(8, 8)), np.zeros((8, 8))) for name in EXPLAINERS}
    shortcut.pictures(tmp_path / "p.png", image, np.eye(8, dtype=bool), maps)
    assert {TITLES[name].replace(" (", "\n(") for name in EXPLAINERS} <= words(drawn[1])
    assert has_ink(tmp_path / "p.png")


def intervals(axis) -> list[np.ndarray]:
    """Ends (2,) of the level lines of a panel that can be seen."""
    lines = [line.get_xdata() for line in axis.lines if len(set(line.get_ydata())) == 1 and len(line.get_xdata()) == 2]
    return [ends for ends in lines if np.isfinite(ends).all() and ends[0] < ends[1]]


def compared(metric: str, n: int = 20) -> dict:
    """LIME and Grad-CAM against all controls and themselves untrained by a metric."""
    tests = [
        {"explainer": name, "control": control, "outcome": outcome, "difference": difference, "n": n}
        for name, outcome, difference in (("lime", "better", -0.25), ("grad_cam", "worse", 0.125))
        for control in (*CONTROLS, f"untrained {name}")
    ]
    tests[-1] |= {"outcome": "undecided", "difference": None}
    direction = "lower is better" if metric == "deletion_auc" else "higher is better"
    return {
        "direction": direction,
        "n": n,
        "ranked": n,
        "controls": tests,
        "mean_ranks": {"lime": 1.0, "grad_cam": 2.0},
        "cliques": [],
    }


def test_three_outcomes_by_colour_sign_and_number(tmp_path, drawn):
    ranking = {
        "metrics": {
            "deletion_auc": compared("deletion_auc"),
            "emprt": compared("emprt") | {"controls": []},
            "road": compared("road", 17),
        }
    }
    scorecard.outcomes(tmp_path / "o.png", ranking)
    assert has_ink(tmp_path / "o.png")
    said = words(drawn[0])
    assert {"deletion AUC (lower is better), 20 images", "ROAD (higher is better), 17 images"} <= said
    assert {"LIME", "Grad-CAM", *CONTROLS.values(), "untrained"} <= said
    assert {"▲ better", "▼ worse", "? undecided"} <= said
    assert not any(text.startswith("eMPRT") for text in said)  # no control was compared by it
    axis = drawn[0].axes[0]
    looks = {text.get_text().partition("\n")[0]: set() for text in axis.texts}
    for text, cell in zip(axis.texts, axis.patches, strict=True):
        looks[text.get_text().partition("\n")[0]].add(to_hex(cell.get_facecolor()))
        x, y = text.get_position()
        assert (cell.get_x() < x < cell.get_x() + 1, cell.get_y() < y < cell.get_y() + 1) == (True, True)
    assert looks == {sign: {colour} for colour, sign in scorecard.OUTCOME_LOOKS.values()}
    assert len({colour for colour, _ in scorecard.OUTCOME_LOOKS.values()}) == len(OUTCOMES)
    numbers = [text.get_text() for text in axis.texts]
    assert [numbers.count(text) for text in ("▲\n-0.25", "▼\n+0.12", "?")] == [7, 6, 1]
    first = next(text for text in axis.texts if text.get_text() == "▲\n-0.25")
    assert axis.get_yticklabels()[int(first.get_position()[1])].get_text() == "LIME"


def test_intervals_that_there_are_not_are_not_drawn(tmp_path, drawn):
    some = card(["lime"], 3)
    some.loc[some["metric"] != "road", ["low", "high"]] = np.nan
    scorecard.forest(tmp_path / "f.png", some, ["deletion_auc", "road"])
    deletion, road = (intervals(axis) for axis in drawn[0].axes[:2])
    assert (len(deletion), len(road)) == (0, 3 + len(CONTROLS))
    assert has_ink(tmp_path / "f.png")
    scorecard.faithfulness_and_cost(tmp_path / "c.png", some.assign(low=np.nan, high=np.nan))
    assert has_ink(tmp_path / "c.png")


def test_a_metric_that_ranks_nothing_has_no_figure_of_ranks(tmp_path):
    curves = pd.DataFrame(
        {
            "explainer": ["lime"],
            "step": [1],
            "randomised_from": ["fc"],
            "image": [0],
            "entropy_rise": [0.1],
            "rank_agreement": [0.5],
        }
    )
    few = compared("road", 3) | {"mean_ranks": {}}
    ranking = {"metrics": {"deletion_auc": compared("deletion_auc"), "road": few}}
    scorecard.draw_all(tmp_path, Scorecard({"scorecard": card(["lime", "grad_cam"]), "randomization": curves}, ranking))
    assert [path.name for path in (tmp_path / "ranks").iterdir()] == ["deletion_auc.png"]
    assert {path.name for path in tmp_path.glob("*.png")} == {
        "scorecard.png",
        "outcomes.png",
        "faithfulness_and_cost.png",
        "randomization.png",
    }
    alone = {"metrics": {"deletion_auc": compared("deletion_auc") | {"controls": []}}}
    scorecard.draw_all(tmp_path / "b", Scorecard({"scorecard": card(["lime"]), "randomization": curves}, alone))
    assert not (tmp_path / "b/outcomes.png").exists()
