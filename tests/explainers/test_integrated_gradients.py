import numpy as np
import pytest
import torch

from glassbox.config.explain import IntegratedGradients as Settings
from glassbox.explainers.base import Request
from glassbox.explainers.integrated_gradients import IntegratedGradients

WEIGHTS = np.arange(16.0).reshape(4, 4) - 5
IMAGES = torch.arange(144, dtype=torch.uint8).view(3, 4, 4, 3)
REQUEST = Request(IMAGES, torch.tensor([1, 1, 0]), (0, 0, 0))


@pytest.mark.parametrize(("baseline", "colour"), [("black", 0.0), ("mean", 0.5)])
def test_on_a_linear_model_it_is_weight_times_distance(linear, baseline, colour):
    explainer = IntegratedGradients(Settings(steps=3, baseline=baseline), (0.5, 0.5, 0.5), batch_size=2)
    made = explainer(linear(WEIGHTS), REQUEST)
    expected = ((IMAGES.double() / 255 - colour).sum(dim=3) * torch.from_numpy(WEIGHTS)).numpy()
    assert made.maps[:2] == pytest.approx(expected[:2], abs=1e-5)
    assert not made.maps[2].any()  # logit 0 is constant
    assert made.details["completeness_error"] == pytest.approx(0, abs=1e-4)


def test_completeness_on_a_curved_model(linear, monkeypatch):
    # f = s^2 along the path from black: the map sums to f(x) - f(0), the better the more steps.
    model = linear(WEIGHTS)
    forward = model.network.forward
    monkeypatch.setattr(model.network, "forward", lambda x: forward(x) ** 2)
    few, many = (
        IntegratedGradients(Settings(steps=steps, baseline="black"), (0, 0, 0), 8)(model, REQUEST) for steps in (2, 200)
    )
    score = float((IMAGES[0].double() / 255).sum(dim=2).mul(torch.from_numpy(WEIGHTS)).sum())
    assert many.maps[0].sum() == pytest.approx(score**2, rel=1e-3)
    assert many.details["completeness_error"].max() < 1e-2
    assert few.maps.shape == many.maps.shape
