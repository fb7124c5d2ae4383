from dataclasses import replace

import numpy as np
import pytest
import torch

from glassbox.config.explain import LimeStability
from glassbox.explainers.base import Setup
from glassbox.explainers.running import Bookkeeping
from glassbox.explaining import lime_stability
from glassbox.explaining.selection import Pick
from glassbox.xai_metrics.stability import agreement_with, rank_agreement

PICKS = [Pick(row, "correct", f"pick {row}", (1,)) for row in (3, 0, 2, 1)]
IMAGES = torch.randint(0, 256, (4, 16, 16, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def explain_settings(params, **stability):
    how = LimeStability(**{"images": 2, "samples": (50, 800), "seeds": 3} | stability)
    lime = params.explain.lime.model_copy(update={"stability": how, "regions": 2})
    superpixels = params.explain.superpixels.model_copy(update={"segments": 16})
    return params.explain.model_copy(update={"lime": lime, "superpixels": superpixels})


@pytest.fixture
def setup(linear, params):
    """A classifier that weighs the left half of an image for, the right half against."""
    weights = np.where(np.arange(16) < 8, 0.02, -0.02) * np.linspace(0.5, 1, 16)[:, None]
    return Setup(linear(weights), explain_settings(params), torch.zeros(0), (0.0,) * 3, batch_size=64)


@pytest.mark.parametrize(("images", "rows"), [(2, [3, 1]), (9, [3, 0, 2, 1]), (0, [])])
def test_picks_are_spread(params, images, rows):
    settings = explain_settings(params, images=images)
    assert [pick.row for pick in lime_stability.choose(PICKS, settings)] == rows
    assert lime_stability.choose(PICKS, settings.model_copy(update={"explainers": ("grad_cam",)})) == []


def test_more_samples_agree_better(setup):
    moved = []
    chosen = lime_stability.choose(PICKS, setup.settings)
    made = lime_stability.measure(setup, chosen, IMAGES, Bookkeeping(progress=moved.append))
    assert made.table["image"].tolist() == [3, 3, 1, 1]
    assert made.table["samples"].tolist() == [50, 800, 50, 800]
    assert made.maps.shape == (2, 2, 3, 16, 16)
    assert sum(moved) == len(chosen) * lime_stability.runs(setup.settings.lime) == 12
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


def test_the_studys_seed_decides_and_no_image_is_none(setup, params):
    small = replace(setup, settings=explain_settings(params, images=1, samples=(50, 60)))
    one, same, other = (
        lime_stability.measure(replace(small, seed=seed), PICKS[:1], IMAGES).table for seed in (1, 1, 2)
    )
    assert one.equals(same)
    assert not one.equals(other)
    assert lime_stability.measure(small, [], IMAGES) is None


def test_a_short_run_is_not_the_beginning_of_a_longer_one(setup, monkeypatch):
    seeds = []
    explain = lime_stability.Lime.__call__

    def spy(self, classifier, request):
        seeds.extend(request.seeds)
        return explain(self, classifier, request)

    monkeypatch.setattr(lime_stability.Lime, "__call__", spy)
    lime_stability.measure(setup, PICKS[:1], IMAGES)
    assert len(set(seeds)) == len(seeds) == 6
