import numpy as np
import pytest
import torch

from glassbox.config.explain import LimeStability
from glassbox.explaining import lime_stability
from glassbox.explaining.selection import Pick
from glassbox.xai_metrics.stability import agreement_with, rank_agreement

PICKS = [Pick(row, "correct", f"pick {row}", (1,)) for row in (3, 0, 2, 1)]


@pytest.fixture
def settings(params):
    how = LimeStability(images=2, samples=(50, 800), seeds=3)
    return params.explain.lime.model_copy(update={"stability": how, "regions": 2})


@pytest.fixture
def scene(linear, params):
    """Noise images, and a classifier that weighs the left half of an image for, the right half against."""
    images = torch.randint(0, 256, (4, 16, 16, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    weights = np.where(np.arange(16) < 8, 0.02, -0.02) * np.linspace(0.5, 1, 16)[:, None]
    return linear(weights), images, params.explain.superpixels.model_copy(update={"segments": 16})


def test_picks_are_spread():
    assert [pick.row for pick in lime_stability.choose(PICKS, 2)] == [3, 1]
    assert [pick.row for pick in lime_stability.choose(PICKS, 9)] == [3, 0, 2, 1]
    assert lime_stability.choose(PICKS, 0) == []


def test_more_samples_agree_better(scene, settings):
    classifier, images, superpixels = scene
    moved = []
    chosen = lime_stability.choose(PICKS, 2)
    made = lime_stability.measure(classifier, chosen, images, settings, superpixels, 64, 0, moved.append)
    assert made.table["image"].tolist() == [3, 3, 1, 1]
    assert made.table["samples"].tolist() == [50, 800, 50, 800]
    assert made.maps.shape == (2, 2, 3, 16, 16)
    assert sum(moved) == len(chosen) * lime_stability.runs(settings) == 12
    few, many = (made.table[made.table["samples"] == n] for n in (50, 800))
    assert (many["rank_agreement"].to_numpy() > few["rank_agreement"].to_numpy()).all()
    assert (many["agreement_with_most"] > 0.9).all()
    assert made.table["top_overlap_by_chance"].tolist() == [2 / n for n in made.table["regions"]]
    assert made.table["local_r2"].between(0.5, 1).all()
    # The table is made from the maps: a region's weight is the value of its pixels.
    _, first = np.unique(made.maps[0, 0].reshape(3, -1).T.round(9), axis=0, return_index=True)
    assert len(first) == made.table["regions"][0]
    few, many = (made.maps[0, place].reshape(3, -1)[:, first] for place in (0, 1))
    assert made.table["rank_agreement"][0] == pytest.approx(rank_agreement(few))
    assert made.table["agreement_with_most"][0] == pytest.approx(agreement_with(few, many))
    assert made.table["agreement_with_most"][1] == pytest.approx(agreement_with(many, many))


def test_the_same_study_gives_the_same_numbers(scene, settings):
    classifier, images, superpixels = scene

    def measure(seed):
        return lime_stability.measure(classifier, PICKS[:1], images, settings, superpixels, 64, seed).table

    assert measure(1).equals(measure(1))
    assert not measure(1).equals(measure(2))


def test_a_short_run_is_not_the_beginning_of_a_longer_one(scene, settings, monkeypatch):
    classifier, images, superpixels = scene
    seeds = []
    explain = lime_stability.Lime.__call__

    def spy(self, classifier, request):
        seeds.extend(request.seeds)
        return explain(self, classifier, request)

    monkeypatch.setattr(lime_stability.Lime, "__call__", spy)
    lime_stability.measure(classifier, PICKS[:1], images, settings, superpixels, 64, 0)
    assert len(set(seeds)) == len(seeds) == 6
