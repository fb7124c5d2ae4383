import numpy as np
import pandas as pd
import pytest

from glassbox.explainers.catalog import CONTROLS
from glassbox.scoring import scorecard as s
from glassbox.scoring import verdicts
from glassbox.xai_metrics import localization

N = 48
DELETION, OTHER, EMPRT = "deletion_auc[mean]", "deletion_auc[blur]", "emprt[100 bins]"
EMPRT_ASKS = "eMPRT (do maps become more complex when the network loses its learnt weights?)"


def about(name: str, kind: str, n: int) -> dict[str, object]:
    """The first columns of N images of a subject."""
    cost = {"forward_passes": 10.0, "backward_passes": 0.0}
    return {"explainer": name, "kind": kind, "image": range(n), "constant_map": False} | cost


def of_explainer(values: pd.DataFrame, name: str) -> pd.Series:
    """Which rows are those of an explainer with its own settings."""
    return (values["explainer"] == name) & (values["kind"] == "explainer")


def made(scores: dict[tuple[str, str], float], spread: float = 0.01) -> pd.DataFrame:
    """Values of N images around one for each subject; the second setting turns the order round."""
    rng = np.random.default_rng(0)
    parts = []
    for (kind, name), level in scores.items():
        values = level + spread * rng.uniform(-1, 1, N)
        columns = about(name, kind, N) | {DELETION: values}
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


@pytest.fixture(scope="module")
def ranking(values):
    return s.rank(values, seed=0)


def test_the_summary_has_a_row_for_each_subject_metric_and_setting(values):
    card = s.summarise(values, seed=0)
    rows = card[card["metric"] == "deletion_auc"]
    assert len(rows) == 2 * 8 + 3  # two settings of explainers and controls, the first one of the others
    first = rows[of_explainer(rows, "lime")].iloc[0]
    assert (first["setting"], first["ranks"], first["n"], first["direction"]) == ("mean", True, N, "lower is better")
    own = values[of_explainer(values, "lime")][DELETION]
    assert first["mean"] == pytest.approx(own.mean())
    assert own.min() < first["low"] < first["mean"] < first["high"] < own.max()
    cost = card[(card["metric"] == "forward_passes") & (card["kind"] == "matched")].iloc[0]
    assert (cost["mean"], cost["property"]) == (10, "cost")
    few = card[(card["metric"] == "emprt") & (card["explainer"] == "lime")].iloc[0]
    assert (few["n"], few["mean"]) == (4, pytest.approx(0.1))
    assert np.isnan([few["low"], few["high"]]).all()  # four images have no interval
    none = card[(card["metric"] == "emprt") & (card["explainer"] == "grad_cam")].iloc[0]
    assert none["n"] == 0
    assert np.isnan(none["mean"])


def test_the_pointing_game_has_a_mean_and_no_interval(values):
    """A few hits or misses make all its spread: see docs/claims.md."""
    places = ["excess_pointing_game[margin 0]", "excess_relevance_mass[margin 0]"]
    card = s.summarise(values.assign(**{place: np.arange(len(values)) % 3 - 0.1 for place in places}), seed=0)
    (mass,), (pointing,) = (
        card[(card["metric"] == metric) & (card["explainer"] == "edges")][["mean", "low", "high"]].to_numpy()
        for metric in ("excess_relevance_mass", "excess_pointing_game")
    )
    assert mass[0] == pointing[0] == pytest.approx(0.9)
    assert np.isfinite(mass).all()
    assert np.isnan(pointing[1:]).all()


def test_the_order_by_hand(ranking):
    row = ranking["metrics"]["deletion_auc"]
    assert (row["n"], row["setting"], row["decidable"]) == (N, "mean", True)
    assert row["mean_ranks"] == {"lime": 1, "grad_cam": 2}  # the levels are further apart than the spread
    assert row["settings"] == {"mean": {"lime": 1, "grad_cam": 2}, "blur": {"grad_cam": 1, "lime": 2}}
    assert row["kendall"] == {"mean / blur": pytest.approx(-1)}
    assert row["matched"] == {"lime": 1}
    assert [(p["a"], p["b"], p["outcome"]) for p in row["pairs"]] == [("lime", "grad_cam", "better")]
    assert row["pairs"][0]["difference"] == pytest.approx(-0.2, abs=0.01)


def test_all_tests_of_a_report_are_one_family(ranking):
    # Two explainers with six controls and themselves untrained, one pair by two settings, and eMPRT of LIME.
    assert ranking["tests"] == 2 * 7 + 2 + 1
    p = min(test["p"] for test in ranking["metrics"]["deletion_auc"]["controls"])
    smallest = min(test["p_holm"] for test in ranking["metrics"]["deletion_auc"]["controls"])
    assert smallest == pytest.approx(ranking["tests"] * p)


def test_three_outcomes(ranking):
    tests = {(t["explainer"], t["control"]): t["outcome"] for t in ranking["metrics"]["deletion_auc"]["controls"]}
    assert len(tests) == 2 * (len(CONTROLS) + 1)
    assert tests["grad_cam", "edges"] == "worse"
    assert tests["grad_cam", "untrained grad_cam"] == "undecided"
    assert all(outcome == "better" for (name, _), outcome in tests.items() if name == "lime")
    assert ("lime", "untrained grad_cam") not in tests
    assert ranking["outcomes"] == {"better": 7 + 5, "worse": 1, "undecided": 1}
    said = verdicts.sentences(ranking)
    assert said[0].startswith(
        "Deletion AUC: LIME is better than every control; Grad-CAM is better than random, smooth random, random "
        "regions, |x| and centred Gaussian, worse than Sobel edges, undecided against its own map of an untrained "
        f"network. ({N} images find a typical difference of 0.0"
    )
    assert "; half of the 1 undecided would take more than 1,000.)" in said[0]
    assert said[1].startswith(f"{EMPRT_ASKS}, 4 images")
    order = "LIME over Grad-CAM with mean, the reverse with blur."
    assert said[2] == f"Deletion AUC: the order depends on the setting: {order}"
    assert verdicts.overview(ranking) == (
        f"14 comparisons of an explainer with a control on {N} images: 12 better, 1 worse, 1 undecided. LIME is better "
        "than every control by 1 of 1 measures, no other explainer by any."
    )
    assert verdicts.counts(ranking)["grad_cam"] == {"better": 5, "worse": 1, "undecided": 1}


def test_what_is_undecided_is_not_said_to_be_worse():
    values = made(SCORES | {("explainer", "lime"): 0.299}, spread=0.1)
    ranking = s.rank(values, seed=0)
    tests = ranking["metrics"]["deletion_auc"]["controls"]
    assert {t["control"] for t in tests if t["explainer"] == "lime" and t["outcome"] == "undecided"} >= {"edges"}
    assert "worse" not in verdicts.sentences(ranking)[0].split(";")[0]


@pytest.mark.parametrize("images", [3, 5])
def test_too_few_images_have_no_rank_no_interval_and_no_verdict(values, images):
    ranking = s.rank(values[values["image"] < images], seed=0)
    row = ranking["metrics"]["deletion_auc"]
    assert (row["decidable"], row["mean_ranks"], row["settings"], row["cliques"]) == (False, {}, {}, [])
    assert {test["outcome"] for test in row["controls"]} == {"undecided"}
    assert {test["low"] for test in row["controls"]} == {None}
    assert row["power"]["detectable"] is None
    assert verdicts.sentences(ranking)[0] == f"Deletion AUC: {images} images are too few to compare, 10 at least."
    assert verdicts.best(ranking) == f"Not tested: {images} images are too few for any comparison, 10 at least."


def test_nobody_is_best_where_nobody_is_better_than_every_control():
    alike = made(dict.fromkeys(SCORES, 0.5), spread=0.1)
    ranking = s.rank(alike, seed=0)
    assert ranking["outcomes"] == {"better": 0, "worse": 0, "undecided": 14}
    assert verdicts.best(ranking) == "No explainer is shown to be better than every control by any measure."
    assert "LIME and Grad-CAM are undecided against every control." in verdicts.sentences(ranking)[0]


def test_explainers_that_fare_alike_share_a_clause_and_are_both_named():
    alike = {("explainer", "grad_cam"): 0.2, ("explainer", "occlusion"): 0.4, ("untrained", "occlusion"): 0.4}
    ranking = s.rank(made(SCORES | alike), seed=0)
    assert verdicts.sentences(ranking)[0].startswith("Deletion AUC: LIME and Grad-CAM are better than every control; ")
    assert verdicts.best(ranking).startswith(
        "Undecided between LIME and Grad-CAM: they are better than every control by "
    )


def test_constant_maps_have_no_score_and_are_counted(values):
    some = values.copy()
    some.loc[of_explainer(some, "grad_cam") & (some["image"] < 5), "constant_map"] = True
    ranking = s.rank(some, seed=0)
    row = ranking["metrics"]["deletion_auc"]
    assert (row["n"], row["ranked"]) == (N, N - 5)
    of = {test["explainer"]: test["n"] for test in row["controls"]}
    assert of == {"lime": N, "grad_cam": N - 5}
    assert ranking["constant_maps"]["grad_cam"] == {"constant": 5, "images": N}
    assert f"on {N - 5} to {N} images" in verdicts.overview(ranking)
    start = f"The map of Grad-CAM has one value everywhere for 5 of {N} images: nothing in its layer speaks for the"
    assert any(sentence.startswith(start) for sentence in verdicts.sentences(ranking))
    card = s.summarise(some, seed=0)
    assert card[of_explainer(card, "grad_cam") & card["ranks"]].iloc[0]["n"] == N - 5


def test_an_explainer_without_any_score_is_left_out(values):
    without = values.assign(**{DELETION: values[DELETION].mask(values["explainer"] == "grad_cam")})
    row = s.rank(without, seed=0)["metrics"]["deletion_auc"]
    assert row["n"] == N
    assert "grad_cam" not in row["mean_ranks"]


def emprt(rises: dict[str, np.ndarray]) -> pd.DataFrame:
    """LIME's maps before and after randomization, by setting."""
    n = len(next(iter(rises.values())))
    return pd.DataFrame(
        about("lime", "explainer", n) | {f"emprt[{setting}]": values for setting, values in rises.items()}
    )


RISE = np.linspace(0.05, 1, N)
NONE = RISE * np.where(np.arange(N) % 2, 1, -1)


@pytest.mark.parametrize(
    ("by_100", "by_50", "outcome", "words"),
    [
        (RISE, RISE, "better", "LIME passes."),
        (-RISE, -RISE, "worse", "LIME fails: its maps become simpler."),
        (NONE, NONE, "undecided", "LIME is undecided."),
        (RISE, NONE, "mixed", "LIME depends on the bins of the histogram."),
        (RISE[:1], RISE[:1], "undecided", "LIME is undecided."),  # one image passes nothing
        (RISE[:5], RISE[:5], "undecided", "LIME is undecided."),
    ],
)
def test_emprt_by_a_paired_test(by_100, by_50, outcome, words):
    ranking = s.rank(emprt({"100 bins": by_100, "50 bins": by_50}), seed=0)
    assert ranking["emprt"]["lime"]["outcome"] == outcome
    assert verdicts.sentences(ranking) == [f"{EMPRT_ASKS}, {len(by_100)} images: {words}"]


def test_emprt_passes_nothing_when_nothing_changed():
    """Maps before and after are drawn from one law with a long tail: the mean of relative rises would pass them."""
    rng, passed, by_mean = np.random.default_rng(3), 0, 0
    for _ in range(60):
        before, after = rng.lognormal(0, 0.6, (2, 60))
        ranking = s.rank(emprt({"100 bins": after - before}), seed=0)
        passed += ranking["emprt"]["lime"]["outcome"] == "better"
        relative = (after - before) / before
        by_mean += relative.mean() > 1.96 * relative.std() / np.sqrt(60)
    assert by_mean > 20
    assert passed <= 5


def test_no_comparison_rests_on_masks_that_are_only_plausible(values):
    inside = values.rename(columns={DELETION: "excess_relevance_mass[margin 0]", OTHER: "deletion_auc[mean]"})
    inside = inside.drop(columns=EMPRT)
    for plausible in (False, True):
        known = s.metrics(plausible)
        ranking, card = s.rank(inside, 0, known), s.summarise(inside, 0, known)
        row = card[(card["metric"] == "excess_relevance_mass") & of_explainer(card, "lime")].iloc[0]
        expected = ("plausibility", "unranked") if plausible else ("localization", "higher is better")
        assert (row["property"], row["direction"]) == expected
        assert (row["n"], row["mean"]) == (N, pytest.approx(0.2, abs=0.01))
        assert ("excess_relevance_mass" in ranking["metrics"]) == (not plausible)
        sentences = " ".join(verdicts.sentences(ranking | {"baselines": {}}))
        assert ("relevance mass" in sentences) == (not plausible)
        assert "Deletion AUC" in sentences
    assert s.metrics(False) == s.METRICS
    changed = {name for name, metric in s.metrics(True).items() if metric != s.METRICS[name]}
    assert changed == {metric.name for metric in localization.METRICS}
