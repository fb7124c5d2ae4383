import numpy as np
import pandas as pd
import pytest
import torch

from glassbox import config, explaining
from glassbox.explainers.base import Attribution
from glassbox.explaining import Explained
from glassbox.selection import Pick

PICKS = [Pick(4, "correct", "dog, recognised", (1,)), Pick(2, "mistake", "cat, taken for dog", (1, 0))]


def test_a_row_for_every_explained_class_and_a_seed_for_every_image():
    images = torch.arange(6, dtype=torch.uint8).view(6, 1, 1, 1).expand(6, 4, 4, 3)
    request = explaining.request_for(PICKS, images, seed=9)
    assert request.images[:, 0, 0, 0].tolist() == [4, 2, 2]
    assert request.targets.tolist() == [1, 1, 0]
    assert request.seeds[1] == request.seeds[2] != request.seeds[0]
    assert explaining.request_for(PICKS[1:], images, seed=9).seeds == request.seeds[1:]


def test_the_background_is_drawn_once_for_all():
    images = torch.arange(50)
    drawn = explaining.draw_background(images, 10, seed=1)
    assert torch.equal(drawn, explaining.draw_background(images, 10, seed=1))
    assert torch.equal(drawn[:4], explaining.draw_background(images, 4, seed=1))
    assert not torch.equal(drawn, explaining.draw_background(images, 10, seed=2))
    assert len(explaining.draw_background(images, 99, seed=1).unique()) == 50


def results() -> list[Explained]:
    """An explainer and the control on three rows, with scores made up."""
    maps = np.ones((3, 2, 2), np.float32)
    zero = maps.copy()
    zero[2] = 0

    def attribution(values, seconds, **details):
        return Attribution(values, np.array(seconds), np.array([5, 5, 5]), details)

    return [
        Explained(
            "lime",
            attribution(zero, [1.0, 2.0, 3.0], local_r2=np.array([0.9, 0.8, 0.7])),
            {"deletion_auc": np.array([0.1, 0.3, 0.5]), "insertion_auc": np.array([0.9, 0.7, 0.1])},
        ),
        Explained(
            "random",
            attribution(maps, [0.0, 0.0, 0.0]),
            {"deletion_auc": np.array([0.5, 0.4, 0.5]), "insertion_auc": np.array([0.6, 0.8, 0.1])},
        ),
    ]


@pytest.fixture
def index() -> pd.DataFrame:
    labels, predicted = np.array([0, 0, 0, 0, 1]), np.array([0, 0, 1, 0, 1])
    return explaining.index_table(PICKS, results(), labels, predicted, np.arange(100, 105), ("cat", "dog"))


def test_the_index_has_a_row_a_map(index):
    assert index["map"].tolist() == list(range(6))
    assert index["image"].tolist() == [4, 2, 2] * 2
    assert index["source_index"].tolist() == [104, 102, 102] * 2
    assert index["explained_class"].tolist() == ["dog", "dog", "cat"] * 2
    assert index.loc[1, ["true_class", "predicted_class", "explainer"]].tolist() == ["cat", "dog", "lime"]
    assert index["all_zero"].tolist() == [False, False, True, False, False, False]
    assert index.loc[0, "local_r2"] == 0.9
    assert np.isnan(index.loc[3, "local_r2"])


def test_the_scorecard_counts_the_predicted_class_once_an_image(index):
    card = explaining.scorecard(index, seed=0).set_index(["explainer", "metric"])
    row = card.loc[("lime", "deletion_auc")]
    assert row["n"] == 2  # the second class of the mistake is left out
    assert row["mean"] == pytest.approx(0.2)
    assert (row["low"], row["high"]) == pytest.approx((0.1, 0.3))  # of two images the bootstrap reaches both
    assert row["versus_random"] == pytest.approx((0.1 - 0.5 + 0.3 - 0.4) / 2)
    assert (row["versus_random_low"], row["versus_random_high"]) == pytest.approx((-0.4, -0.1))
    assert card.loc[("lime", "seconds"), "mean"] == 1.5
    assert np.isnan(card.loc[("random", "deletion_auc"), "versus_random"])
    assert set(card["direction"]) == {"lower is better", "higher is better"}


def test_the_bootstrap_interval_of_a_normal_mean():
    values = np.random.default_rng(0).normal(size=400)
    low, high = explaining.bootstrap_interval(values, seed=1)
    half = 1.96 * values.std() / 20
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.15 * half)
    assert explaining.bootstrap_interval(values, seed=1) == (low, high)
    assert explaining.bootstrap_interval(np.array([0.3]), seed=1) == pytest.approx((0.3, 0.3))


def test_notes_say_how_far_to_trust_a_map():
    lime = results()[0]
    assert explaining.figure_note(lime, 0) == "local R² 0.90"
    assert explaining.figure_note(lime, 2) == "all zero: nothing speaks for it"
    details = {"base_value": np.array([0.25]), "additivity_error": np.array([0.5])}
    shap = Explained("kernel_shap", Attribution(np.ones((1, 2, 2)), np.ones(1), np.ones(1), details), {})
    assert explaining.figure_note(shap, 0) == "base 0.25, sums to f(x) ± 0.5"


def test_explaining_in_pieces_gives_the_same_maps(params, linear, monkeypatch):
    settings = params.explain.model_copy(
        update={
            "explainers": ("integrated_gradients", "gradient_shap"),
            "gradient_shap": config.GradientShap(samples=4, background=5),
            "faithfulness": config.Faithfulness(steps=3, blur_sigma=1.0),
        }
    )
    rng = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (6, 8, 8, 3), dtype=torch.uint8, generator=rng)
    model = linear(torch.linspace(-1, 1, 64).view(8, 8).numpy())
    request = explaining.request_for([Pick(row, "correct", "", (1, 0)) for row in range(5)], images, seed=0)
    moved = []
    whole = list(explaining.explain(model, request, images, (0.5,) * 3, settings, 64, moved.append))
    monkeypatch.setattr(explaining, "CHUNK", 3)
    pieces = list(explaining.explain(model, request, images, (0.5,) * 3, settings, 64))
    assert [made.name for made in whole] == ["integrated_gradients", "gradient_shap", "random"]
    assert sum(moved) == explaining.steps(request, settings) == 3 * 3 * 10
    for one, other in zip(whole, pieces, strict=True):
        np.testing.assert_allclose(one.attribution.maps, other.attribution.maps, atol=1e-6)
        np.testing.assert_allclose(one.scores["deletion_auc"], other.scores["deletion_auc"], atol=1e-6)
    assert explaining.n_background(params.explain) == 50
