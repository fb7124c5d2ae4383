import numpy as np
import pytest
import torch

from glassbox.config.explain import GradientShap as Settings
from glassbox.explainers.base import Request
from glassbox.explainers.gradient_shap import GradientShap

WEIGHTS = np.arange(16.0).reshape(4, 4) - 5
IMAGE = torch.arange(48, dtype=torch.uint8).view(1, 4, 4, 3) * 5


def test_on_a_linear_model_it_is_weight_times_distance(linear):
    # The gradient is the same everywhere, so one background image gives (x - b) * w exactly, summed over channels.
    background = torch.full((1, 4, 4, 3), 51, dtype=torch.uint8)
    made = GradientShap(Settings(samples=5, background=1), background, 2)(
        linear(WEIGHTS), Request(IMAGE, torch.tensor([1]), (0,))
    )
    expected = ((IMAGE[0].double() / 255 - 0.2).sum(dim=2) * torch.from_numpy(WEIGHTS)).numpy()
    assert made.maps[0] == pytest.approx(expected, abs=1e-5)


def test_the_class_that_never_changes_gets_nothing(linear):
    background = torch.zeros(2, 4, 4, 3, dtype=torch.uint8)
    both = Request(IMAGE.expand(2, -1, -1, -1), torch.tensor([0, 1]), (3, 3))
    made = GradientShap(Settings(samples=4, background=2), background, 8)(linear(WEIGHTS), both)
    assert not made.maps[0].any()
    assert made.maps[1].any()


def test_the_seed_decides(linear):
    background = torch.randint(0, 256, (20, 4, 4, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    explainer, model = GradientShap(Settings(samples=3, background=20), background, 8), linear(WEIGHTS)
    one, other = (explainer(model, Request(IMAGE, torch.tensor([1]), (seed,))).maps for seed in (1, 2))
    assert not np.array_equal(one, other)
