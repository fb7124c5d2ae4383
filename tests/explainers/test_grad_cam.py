import numpy as np
import pytest
import torch
from torch import nn

from glassbox.config.explain import GradCam as Settings
from glassbox.explainers.base import Request
from glassbox.explainers.grad_cam import GradCam
from glassbox.models import Classifier


class TwoMaps(nn.Module):
    """Feature maps A1 = red and A2 = blue; class 0 scores sum(A1) - sum(A2), class 1 scores -2 * sum(A1) - sum(A2).

    Grad-CAM's weights, the spatial means of the gradients, are then 1 and -1 for class 0, -2 and -1 for class 1.
    """

    def __init__(self, pool: int = 1) -> None:
        super().__init__()
        self.features = nn.AvgPool2d(pool)
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        red, _, blue = self.features(x).sum(dim=(2, 3)).unbind(dim=1)
        return torch.stack([red - blue, -2 * red - blue], dim=1)

    def grad_cam_layer(self) -> nn.Module:
        return self.features


def classifier(pool: int = 1) -> Classifier:
    return Classifier(TwoMaps(pool), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


IMAGE = torch.zeros(1, 2, 2, 3, dtype=torch.uint8)
IMAGE[0, ..., 0] = torch.tensor([[255, 0], [51, 102]])
IMAGE[0, ..., 2] = torch.tensor([[0, 255], [102, 51]])


@pytest.mark.parametrize(
    ("relu", "target", "expected"),
    [
        (True, 0, [[1, 0], [0, 0.2]]),
        (False, 0, [[1, -1], [-0.2, 0.2]]),
        (False, 1, [[-2, -1], [-0.8, -1.0]]),
        (True, 1, [[0, 0], [0, 0]]),  # a map of zeros is possible
    ],
)
def test_the_weighted_sum_by_hand(relu, target, expected):
    attribution = GradCam(Settings(relu=relu), 2)(classifier(), Request(IMAGE, torch.tensor([target]), (0,)))
    assert attribution.maps[0] == pytest.approx(np.array(expected), abs=1e-6)
    assert attribution.forward_passes.tolist() == [1]


def test_coarse_maps_are_enlarged_bilinearly():
    coarse = IMAGE.repeat_interleave(2, dim=1).repeat_interleave(2, dim=2)  # (1, 4, 4, 3)
    attribution = GradCam(Settings(relu=False), 8)(classifier(pool=2), Request(coarse, torch.tensor([0]), (0,)))
    # Each feature averages four pixels, which share its gradient: weights are 4 times 1 / 4.
    small = torch.tensor([[[[1.0, -1.0], [-0.2, 0.2]]]])
    expected = nn.functional.interpolate(small, size=(4, 4), mode="bilinear")
    assert attribution.maps == pytest.approx(expected[0].numpy(), abs=1e-6)
