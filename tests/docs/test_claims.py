import pandas as pd
import pytest

from benchmarks import claims as simulation
from benchmarks.claims import DEFAULT
from benchmarks.pool import NOISES, RESULTS
from glassbox.core import files
from glassbox.scoring import scorecard
from glassbox.scoring.measurement import METRICS
from glassbox.statistics import bootstrap


@pytest.fixture(scope="module")
def results():
    return files.read_json(RESULTS / "simulation.json")


def test_false_claims_are_as_rare_as_the_page_says(results):
    table = pd.DataFrame(results["claims"])
    assert table["study"].nunique() >= 4
    at_default = table[table["images"] == DEFAULT]
    assert (at_default[["false_noise", "false_alike"]] <= 0.05).all(axis=None)


def test_intervals_cover(results):
    means = pd.DataFrame(results["means"])
    shown = means[means["images"] >= bootstrap.FEWEST]
    shown = shown[[METRICS[metric].has_interval for metric in shown["metric"]]]
    assert shown.groupby(["images", "metric"])["studentized"].mean().between(0.92, 0.97).all()
    outside = shown[~shown["studentized"].between(0.92, 0.97)]
    assert outside[["study", "metric", "images"]].to_numpy().tolist() == [["tiles", "brightness_sensitivity", 40]]
    differences = pd.DataFrame(results["differences"])
    assert differences["mean"].between(0.92, 0.97).all()


def test_a_simulated_report_compares_what_a_real_one_compares():
    values = simulation.pools()["digits"]
    real = scorecard.rank(values[~values["explainer"].isin(NOISES) & (values["image"] < 40)], seed=0)
    for report in (simulation.with_explainers(values), simulation.with_noise(values)):
        assert len(report.family(report.scores)) == real["tests"]
