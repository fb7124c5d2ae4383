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


class Attending(nn.Module):
    """Tokens of red and blue, after `prefix` ones of (7, 9). They are summed with weights of 5 for those before, and of
    1, 2, 3, 4 for the places. Class 0 scores red - blue of the sum, class 1 -2 * red - blue."""

    def __init__(self, prefix: int) -> None:
        super().__init__()
        self.tokens, self.num_prefix_tokens = nn.Identity(), prefix
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        before = torch.tensor([7.0, 9.0]).expand(len(x), self.num_prefix_tokens, 2)
        tokens = self.tokens(torch.cat([before, x[:, [0, 2]].flatten(2).transpose(1, 2)], dim=1))
        weights = torch.tensor([5.0] * self.num_prefix_tokens + [1.0, 2.0, 3.0, 4.0])
        red, blue = (weights[:, None] * tokens).sum(dim=1).unbind(dim=1)
        return torch.stack([red - blue, -2 * red - blue], dim=1)


@pytest.mark.parametrize("prefix", [0, 1, 5])
@pytest.mark.parametrize(("target", "expected"), [(0, [[1, -1], [-0.2, 0.2]]), (1, [[-2, -1], [-0.8, -1.0]])])
def test_tokens_of_places_are_weighed_by_hand_and_those_before_them_left_out(prefix, target, expected):
    net = Classifier(Attending(prefix))
    assert net.grad_cam_layer(2) is net.network.tokens
    maps = GradCam(Settings(relu=False), 2)(net, Request(IMAGE, torch.tensor([target]), (0,))).maps
    # A gradient's mean over the places is that of the class's weights, times (1 + 2 + 3 + 4) / 4.
    assert maps[0] == pytest.approx(2.5 * np.array(expected), abs=1e-5)


class ChannelsLast(TwoMaps):
    """The same maps with their channels last, as Swin has them."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        red, _, blue = self.features(x.permute(0, 2, 3, 1).contiguous()).sum(dim=(1, 2)).unbind(dim=1)
        return torch.stack([red - blue, -2 * red - blue], dim=1)


def test_channels_may_come_last():
    net = ChannelsLast()
    net.features = nn.Identity()
    maps = GradCam(Settings(relu=False), 2)(Classifier(net), Request(IMAGE, torch.tensor([0]), (0,))).maps
    assert maps[0] == pytest.approx(np.array([[1, -1], [-0.2, 0.2]]), abs=1e-6)
