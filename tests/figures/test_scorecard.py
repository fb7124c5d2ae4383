import io

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from glassbox.explainers.catalog import CONTROLS, EXPLAINERS, TITLES
from glassbox.figures import scorecard, shortcut
from glassbox.scoring.scorecard import Scorecard
from glassbox.statistics.outcomes import OUTCOMES
from glassbox.xai_metrics.catalog import MEASUREMENTS

from .conftest import has_ink, texts

RNG = np.random.default_rng(0)
METRICS = """
metric,property,setting,ranks,direction
deletion_auc,faithfulness,mean,True,lower is better
road,faithfulness,mean,True,higher is better
excess_relevance_mass,localization,mean,True,higher is better
emprt,dependence,mean,True,higher is better
forward_passes,cost,,False,lower is better
backward_passes,cost,,False,lower is better
"""
ALL = ["deletion_auc", "road", "excess_relevance_mass", "emprt"]


def card(explainers: list[str], n: int = 20) -> pd.DataFrame:
    subjects = [(name, kind) for kind in ("explainer", "untrained", "matched") for name in explainers]
    subjects += [(name, "control") for name in CONTROLS]
    metrics = pd.read_csv(io.StringIO(METRICS), keep_default_na=False)
    table = pd.DataFrame(subjects, columns=["explainer", "kind"]).merge(metrics, how="cross")
    mean = np.where(table["property"] == "cost", RNG.integers(1, 1000, len(table)), RNG.normal(size=len(table)))
    return table.assign(n=n, mean=mean, low=mean - 0.1, high=mean + 0.1)


@pytest.mark.parametrize(("explainers", "n"), [(EXPLAINERS, 20), (["lime"], 3)])
def test_explainers_controls_and_directions_are_named(tmp_path, drawn, explainers, n):
    table, titles = card(explainers, n), {TITLES[name] for name in explainers}
    scorecard.forest(tmp_path / "forest.png", table, ALL, {"metrics": {}})
    axes = {f"{MEASUREMENTS['deletion_auc']}, mean\n← better", f"{MEASUREMENTS['road']}, mean\n→ better"}
    assert titles | set(CONTROLS.values()) | axes <= set(texts(drawn[0]))
    scorecard.faithfulness_and_cost(tmp_path / "cost.png", table)
    assert titles | {"deletion AUC ↓", "ROAD ↑"} <= set(texts(drawn[1]))
    assert has_ink(tmp_path / "forest.png")
    assert has_ink(tmp_path / "cost.png")
    table.loc[table["metric"] == "road", ["mean", "low", "high", "n"]] = [np.nan, np.nan, np.nan, 0]
    scorecard.faithfulness_and_cost(tmp_path / "without.png", table)
    assert "deletion AUC ↓" in texts(drawn[2])
    assert "ROAD ↑" not in texts(drawn[2])


@pytest.mark.parametrize("names", [[*EXPLAINERS], ["lime", "grad_cam"]])
def test_ranks_are_in_their_places_and_cliques_are_joined(tmp_path, drawn, names):
    ranks = {name: 1.0 + place for place, name in enumerate(names)}
    row = {"mean_ranks": ranks, "cliques": [tuple(names[:2])], "n": 24, "ranked": 20}
    scorecard.critical_difference(tmp_path / "c.png", "road", row)
    ends = {f"{scorecard.title_of(names[0])}  1.0", f"{len(names)}.0  {scorecard.title_of(names[-1])}"}
    title = "Mean rank by ROAD, 20 images"
    assert ends | {f"{title}; a bar joins explainers without a significant difference"} <= set(texts(drawn[0]))
    (bar,) = [lines for lines in drawn[0].axes[0].collections if lines.get_linewidth()[0] == 3]
    left, right = bar.get_segments()[0][:, 0]
    assert left < 1 < 2 < right < 3
    scorecard.critical_difference(tmp_path / "d.png", "road", row | {"cliques": []})
    assert title in texts(drawn[1])


def test_explainers_keep_their_marker_and_colour_in_every_study():
    assert len({(scorecard._colour(name), scorecard.SHAPES[name]) for name in TITLES}) == len(TITLES)


def curves(*names: str) -> pd.DataFrame:
    layers = pd.DataFrame({"step": [1, 2], "randomised_from": ["fc", "a.very.long.name.of.a.layer.conv1"]})
    table = pd.DataFrame({"explainer": names}).merge(layers, how="cross")
    return table.assign(image=0, entropy_rise=RNG.normal(size=len(table)), rank_agreement=RNG.uniform(-1, 1))


def test_randomization_draws_explainers_and_no_controls(tmp_path, drawn):
    scorecard.randomization(tmp_path / "r.png", curves("lime", "edges"))
    words = texts(drawn[0])
    assert {"LIME", "fc"} <= set(words)
    assert "Sobel edges" not in words
    assert any(text.startswith("…") and text.endswith("layer.conv1") for text in words)


def test_the_contrast_of_a_shortcut(tmp_path, drawn):
    rows = """
explainer,confounded,control,contrast,low,high,outcome
lime,0.5,0.1,0.4,0.3,0.5,better
grad_cam,0.3,0.3,0.01,-0.1,0.1,undecided
edges,0.2,0.2,0.0,,,undecided
"""
    shortcut.contrast(tmp_path / "s.png", pd.read_csv(io.StringIO(rows)))
    assert {"LIME", "Grad-CAM", "Sobel edges"} <= set(texts(drawn[0]))
    right = drawn[0].axes[1]
    points = {line.get_xdata()[0]: line.get_markerfacecolor() for line in right.lines if line.get_marker() == "o"}
    assert {x: face != "white" for x, face in points.items()} == {0.4: True, 0.01: False, 0.0: False}
    assert len(intervals(right)) == 2  # the third does not exist
    image = RNG.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    maps = {name: (RNG.normal(size=(8, 8)), np.zeros((8, 8))) for name in EXPLAINERS}
    shortcut.pictures(tmp_path / "p.png", image, np.eye(8, dtype=bool), maps)
    assert {TITLES[name] for name in EXPLAINERS} <= {" ".join(text.split()) for text in texts(drawn[1])}
    assert has_ink(tmp_path / "p.png")


def intervals(axis) -> list[np.ndarray]:
    """Ends (2,) of the horizontal lines of a panel that can be seen."""
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
    ranks = {"mean_ranks": {"lime": 1.0, "grad_cam": 2.0}, "cliques": []}
    return ranks | {"direction": direction, "n": n, "ranked": n, "controls": tests}


def test_three_outcomes_by_colour_sign_and_number(tmp_path, drawn):
    metrics = {"deletion_auc": compared("deletion_auc"), "road": compared("road", 17)}
    metrics["emprt"] = compared("emprt") | {"controls": []}
    scorecard.outcomes(tmp_path / "o.png", {"metrics": metrics})
    assert has_ink(tmp_path / "o.png")
    words = texts(drawn[0])
    titles = {"deletion AUC\nlower is better, 20 images", "ROAD\nhigher is better, 17 images"}
    names = {"LIME", "Grad-CAM", *CONTROLS.values(), "untrained", "▲ better", "▼ worse", "? undecided"}
    assert titles | names <= set(words)
    assert not any(text.startswith("eMPRT") for text in words)  # no control was compared by it
    axis = drawn[0].axes[0]
    looks = set()
    for text, cell in zip(axis.texts, axis.patches, strict=True):
        looks.add((to_hex(cell.get_facecolor()), text.get_text().partition("\n")[0]))
        x, y = text.get_position()
        assert (cell.get_x() < x < cell.get_x() + 1, cell.get_y() < y < cell.get_y() + 1) == (True, True)
    assert looks == set(scorecard.OUTCOME_LOOKS.values())
    assert len({colour for colour, _ in looks}) == len(OUTCOMES)
    numbers = [text.get_text() for text in axis.texts]
    assert [numbers.count(text) for text in ("▲\n-0.25", "▼\n+0.12", "?")] == [7, 6, 1]
    height = int(axis.texts[numbers.index("▲\n-0.25")].get_position()[1])
    assert axis.get_yticklabels()[height].get_text() == "LIME"


def test_explainers_come_by_their_mean_rank_and_are_marked(tmp_path, drawn):
    row = compared("deletion_auc")
    row["mean_ranks"] = {"lime": 1.75, "grad_cam": 1.25}
    row["controls"][-1] |= {"outcome": "worse"}
    scorecard.forest(
        tmp_path / "f.png", card(["lime", "grad_cam"]), ["deletion_auc"], {"metrics": {"deletion_auc": row}}
    )
    axis = drawn[0].axes[0]
    names = [label.get_text() for label in axis.get_yticklabels()][::-1]  # from the top
    assert names == ["Grad-CAM", "LIME", *CONTROLS.values()]
    marks = [line for line in axis.lines if line.get_marker() in ("^", "v") and len(line.get_ydata())]
    heights = {line.get_marker(): round(float(line.get_ydata()[0])) for line in marks}
    assert heights == {"v": len(names) - 1, "^": len(names) - 2}
    assert {"better than every control", "worse than every control"} <= set(texts(drawn[0]))


def test_intervals_that_do_not_exist_are_not_drawn(tmp_path, drawn):
    table = card(["lime"], 3)
    table.loc[table["metric"] != "road", ["low", "high"]] = np.nan
    scorecard.forest(tmp_path / "f.png", table, ["deletion_auc", "road"], {"metrics": {}})
    deletion, road = (intervals(axis) for axis in drawn[0].axes[:2])
    assert (len(deletion), len(road)) == (0, 3 + len(CONTROLS))
    scorecard.faithfulness_and_cost(tmp_path / "c.png", table.assign(low=np.nan, high=np.nan))
    assert has_ink(tmp_path / "c.png")


def test_a_metric_without_ranks_or_tests_has_no_figure_of_them(tmp_path):
    ranking = {"deletion_auc": compared("deletion_auc"), "road": compared("road", 3) | {"mean_ranks": {}}}
    table = card(["lime", "grad_cam"])
    tables = {"scorecard": table[~table["metric"].isin(ALL[1:])], "randomization": curves("lime")}
    scorecard.draw_all(tmp_path / "a", Scorecard(tables, {"metrics": ranking}))
    assert [path.name for path in (tmp_path / "a/ranks").iterdir()] == ["deletion_auc.png"]
    names = {path.stem for path in (tmp_path / "a").glob("*.png")}
    assert names == {"scorecard", "outcomes", "faithfulness_and_cost", "randomization"}
    ranking = {"deletion_auc": compared("deletion_auc") | {"controls": []}}
    scorecard.draw_all(tmp_path / "b", Scorecard(tables, {"metrics": ranking}))
    assert {path.stem for path in (tmp_path / "b").glob("*.png")} == names - {"outcomes"}
