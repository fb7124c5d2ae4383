from dataclasses import replace

import numpy as np
import pytest
import torch

from glassbox.config.explain import KernelShap as Settings
from glassbox.core.errors import UserError
from glassbox.explainers.base import Request
from glassbox.explainers.catalog import TOLERANCE
from glassbox.explainers.kernel_shap import KernelShap
from glassbox.explainers.shapley import Estimate

from .conftest import QUADRANTS, WORTH

BLACK = torch.zeros(1, 8, 8, 3, dtype=torch.uint8)


def explainer(params, background=BLACK, coalitions=64, tolerance=None, draw=False, **others) -> KernelShap:
    settings = Settings(
        coalitions=coalitions, tolerance=tolerance, background=len(background), draw_background=draw, classes=0
    )
    return KernelShap(settings, params.explain.superpixels, background, **{"batch_size": 7} | others)


@pytest.fixture
def sixteen(game, monkeypatch):
    """The game with the quadrants cut into sixteen regions."""
    segments = np.arange(64).reshape(8, 8) // 4
    monkeypatch.setattr("glassbox.explainers.kernel_shap.segment", lambda image, how: segments)
    return game


@pytest.fixture
def not_additive(sixteen, monkeypatch):
    """That game where the worth of a region depends on the others."""
    network = sixteen[0].network
    forward = network.forward
    monkeypatch.setattr(network, "forward", lambda x: forward(x) * x.mean(dim=(1, 2, 3))[:, None])
    return sixteen


def test_shapley_values_of_an_additive_game_are_the_worths(game, params):
    classifier, request = game
    made = explainer(params)(classifier, request)
    assert made.maps[0] == pytest.approx(WORTH[QUADRANTS], abs=1e-6)
    assert made.details["base_value"] == pytest.approx([0.2], abs=1e-6)
    assert made.details["additivity_error"] == pytest.approx([0], abs=1e-6)
    assert made.details["evidence_for"] == pytest.approx([WORTH[WORTH > 0].sum()], abs=1e-6)
    assert made.details["evidence_against"] == pytest.approx([WORTH[WORTH < 0].sum()], abs=1e-6)
    # With every quadrant hidden class 1 has 0.2, so that class 0, which is not explained, is the most probable.
    assert made.details["empty_class"].tolist() == [0]
    assert made.details["empty_probability"] == pytest.approx([0.8], abs=1e-6)
    assert made.forward_passes.tolist() == [17]  # 16 coalitions and the image


def test_the_evidence_is_counted_by_region_and_not_by_pixel(game, params, monkeypatch):
    classifier, request = game
    segments = np.where(np.arange(64).reshape(8, 8) == 0, 4, QUADRANTS)  # one pixel is a region of its own
    monkeypatch.setattr("glassbox.explainers.kernel_shap.segment", lambda image, how: segments)
    made = explainer(params)(classifier, request).details
    total = made["evidence_for"] + made["evidence_against"]
    assert total == pytest.approx([WORTH.sum()], abs=1e-6)


@pytest.mark.parametrize("batch_size", [1, 3, 7, 1000])
def test_the_background_is_averaged_whatever_the_batch_size(game, params, batch_size):
    # With a black, a white and a grey background nine twentieths of the worth remain when a region is hidden.
    classifier, request = game
    background = torch.cat([BLACK, torch.full_like(BLACK, 255), torch.full_like(BLACK, 90)])
    left = (0 + 1 + 90 / 255) / 3
    made = explainer(params, background, batch_size=batch_size)(classifier, request)
    assert made.maps[0] == pytest.approx((1 - left) * WORTH[QUADRANTS], abs=1e-6)
    assert made.details["base_value"] == pytest.approx([0.2 + left * WORTH.sum()], abs=1e-6)
    assert made.forward_passes.tolist() == [3 * 16 + 1]


@pytest.mark.parametrize(("batch_size", "precision"), [(1, "float32"), (7, "float32"), (1000, "bfloat16")])
def test_each_pair_of_coalitions_has_one_background_image(sixteen, params, batch_size, precision):
    # The game is additive, so that its mean is known after as many pairs of each image as there are regions.
    classifier, request = sixteen
    background = torch.cat([BLACK, torch.full_like(BLACK, 255), torch.full_like(BLACK, 90)])
    left = (0 + 1 + 90 / 255) / 3
    explain = explainer(params, background, 200, draw=True, batch_size=batch_size, precision=precision)
    made = explain(classifier, request)
    assert made.maps[0] == pytest.approx((1 - left) * WORTH[QUADRANTS] / 4, abs=1e-3)
    assert made.details["base_value"] == pytest.approx([0.2 + left * WORTH.sum()], abs=1e-6)
    assert made.details["additivity_error"] == pytest.approx([0], abs=1e-6)
    assert made.details["empty_probability"] == pytest.approx([max(1 - v, v) for v in made.details["base_value"]])
    assert made.forward_passes.tolist() == [3 + 1 + 196 + 1] == [explain.budget(8).forward_passes]


def test_too_few_coalitions_to_draw_the_background_are_refused(sixteen, params):
    with pytest.raises(UserError, match=r"and the background 2 images: with draw_background it must be at least 35"):
        explainer(params, torch.cat([BLACK, BLACK]), 34, draw=True)(*sixteen)


def test_values_that_do_not_add_up_have_an_error(game, params, monkeypatch):
    # The image itself gets another probability than the coalition of all regions: a fault that nothing else would show.
    classifier, request = game
    forward = classifier.network.forward
    monkeypatch.setattr(classifier.network, "forward", lambda x: forward(x) + (len(x) == 1) * torch.tensor([0.0, 1.0]))
    made = explainer(params, torch.cat([BLACK, BLACK]))(classifier, request)  # so that coalitions come in twos
    x = request.images.permute(0, 3, 1, 2) / 255
    truth, wrong = (classifier(x.repeat(n, 1, 1, 1)).softmax(1)[0, 1].item() for n in (2, 1))
    assert made.details["additivity_error"] == pytest.approx([wrong - truth], abs=1e-6)
    assert made.details["additivity_error"][0] > TOLERANCE


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_an_image_like_its_background_has_a_map_of_zeros(game, params, monkeypatch, precision):
    # The answers differ by rounding, as those of batches of other sizes do.
    classifier, request = game
    forward = classifier.network.forward
    noise = torch.Generator().manual_seed(0)
    monkeypatch.setattr(
        classifier.network, "forward", lambda x: forward(x) + 1e-6 * torch.randn(len(x), 2, generator=noise)
    )
    made = explainer(params, request.images, precision=precision)(classifier, request)
    assert (made.maps == 0).all()
    assert made.details["additivity_error"][0] < TOLERANCE


def test_the_other_class_gets_the_opposite_from_the_same_evaluations(game, params):
    classifier, request = game
    both = Request(request.images.expand(2, -1, -1, -1), torch.tensor([0, 1]), (0, 0))
    made = explainer(params)(classifier, both)
    assert made.maps[0] == pytest.approx(-made.maps[1], abs=1e-6)
    alone = explainer(params)(classifier, request)
    assert made.forward_passes.tolist() == alone.forward_passes.tolist() * 2


def test_the_seed_decides(not_additive, params):
    classifier, request = not_additive  # with few coalitions the draw shows
    explain = explainer(params, coalitions=40)
    one, other = (explain(classifier, replace(request, seeds=(seed,))).maps for seed in (0, 1))
    assert not np.array_equal(one, other)


def test_many_regions_keep_all_their_values(sixteen, params):
    # The default of the library shap keeps ten and sets the others to zero.
    made = explainer(params, coalitions=256)(*sixteen)
    assert len(np.unique(np.round(made.maps[0], 6))) == 4  # the four worths, spread over four regions each
    assert np.count_nonzero(made.maps[0]) == 64


def test_too_few_coalitions_are_refused(game, params, monkeypatch):
    classifier, request = game
    monkeypatch.setattr("glassbox.explainers.kernel_shap.segment", lambda image, how: np.arange(64).reshape(8, 8) // 2)
    with pytest.raises(UserError, match=r"coalitions is 63, but an image has 32 regions: it must be at least twice"):
        explainer(params, coalitions=63)(classifier, request)


def test_an_additive_image_needs_few_coalitions(sixteen, params):
    made = explainer(params, coalitions=1000, tolerance=1e-3)(*sixteen)
    assert made.forward_passes[0] <= 2 * 48 + 1  # 32 pairs to begin with, at most 17 more, and the image itself
    assert made.details["standard_error"][0] <= 1e-3
    every = explainer(params, coalitions=1000)(*sixteen)
    assert every.forward_passes.tolist() == [1001]
    assert made.maps == pytest.approx(every.maps, abs=1e-3)


def test_the_tolerance_holds_for_all_classes_of_an_image_and_out_of_reach_takes_all_coalitions(not_additive, params):
    classifier, request = not_additive
    both = Request(request.images.expand(2, -1, -1, -1), torch.tensor([0, 1]), (0, 0))
    worst = explainer(params, coalitions=300)(classifier, both).details["standard_error"].max()
    made = explainer(params, coalitions=300, tolerance=2 * worst)(classifier, both)
    assert (made.details["standard_error"] <= 2 * worst).all()
    assert made.forward_passes[0] == made.forward_passes[1] < 301
    strict = explainer(params, coalitions=300, tolerance=worst / 10)(classifier, both)
    assert strict.forward_passes.tolist() == [301, 301]
    assert strict.details["standard_error"].max() == pytest.approx(worst)


def test_the_standard_error_is_the_largest_of_the_maps_regions(not_additive, params, monkeypatch):
    errors = np.array([[0.1, 0.4, 0.2] + [0.0] * 13])

    def estimated(value, *_):
        value(np.repeat([[True], [False]], 16, axis=1))
        return Estimate(np.zeros((1, 16)), errors, np.zeros(1), 2)

    monkeypatch.setattr("glassbox.explainers.kernel_shap.shapley.estimate", estimated)
    assert explainer(params)(*not_additive).details["standard_error"].tolist() == [0.4]


def test_the_device_gets_full_batches_and_the_coalitions_are_an_upper_bound(sixteen, params, monkeypatch):
    classifier, request = sixteen
    sizes = []
    forward = classifier.network.forward
    monkeypatch.setattr(classifier.network, "forward", lambda x: sizes.append(len(x)) or forward(x))
    made = explainer(params, torch.cat([BLACK, BLACK]), coalitions=65)(classifier, request)
    assert made.forward_passes.tolist() == [2 * 64 + 1]
    assert sizes == [7] * 18 + [2, 1]  # 128 images in batches of 7, and the image itself
