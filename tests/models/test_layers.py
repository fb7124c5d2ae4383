from collections.abc import Callable

import pytest
import torch
from torch import nn
from torchvision.ops import Permute

from glassbox.models.layers import Layer, last_feature_maps, layers, single_path, totals


def test_a_small_network_by_hand():
    network = nn.Sequential()
    network.add_module("conv", nn.Conv2d(3, 2, 3))  # 2 * 3 * 9 weights and 2 biases; 5 - 3 + 1 pixels are left
    network.add_module("norm", nn.BatchNorm2d(2))  # scale and shift, running mean and variance
    network.add_module("flatten", nn.Flatten())
    network.add_module("output", nn.Linear(18, 4))
    network.train()
    network.norm.eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    rows = layers(network, 5)
    assert rows == [
        Layer("conv", "Conv2d", "2 x 3 x 3", 56, 56),
        Layer("norm", "BatchNorm2d", "2 x 3 x 3", 8, 4),
        Layer("flatten", "Flatten", "18", 0, 0),
        Layer("output", "Linear", "4", 76, 76),
    ]
    assert totals(network) == {"total": 140, "trainable": 136, "non_trainable": 4}
    assert network.training
    assert not network.norm.training
    assert not any(module._forward_hooks for module in network.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_totals_count_everything_once():
    network = nn.Module()
    network.one = nn.Linear(3, 2)  # 8
    network.same = network.one
    network.bare = nn.Parameter(torch.zeros(5))
    network.frozen = nn.Linear(2, 1)  # 3
    network.frozen.requires_grad_(False)
    assert totals(network) == {"total": 16, "trainable": 13, "non_trainable": 3}


class Toy(nn.Module):
    """A stem, a block of one's own choice, and a mean over places."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.stem, self.block, self.head = nn.Conv2d(3, 4, 3, padding=1), block, nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.block(self.stem(x)).mean(dim=(2, 3)))


class Shortcut(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.branch, self.relu = nn.Conv2d(4, 4, 1), nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.relu(x + self.relu(self.branch(x)))


class Halves(nn.Module):
    """Two convolutions side by side, each on half of the channels."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first, second = x.chunk(2, dim=1)
        return torch.cat([self.one(first), self.other(second)], dim=1)


class Bypassed(nn.Module):
    """Both results of one operation come to the output, and only the first one through a module."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first, second = x.chunk(2, dim=1)
        return torch.cat([second, self.first(first)], dim=1)


@pytest.mark.parametrize(
    ("block", "names"),
    [
        (nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU(inplace=True)), ["block.0", "block.1", "block"]),
        (Shortcut(), ["block"]),  # its branch is bypassed, and its relu runs twice
        (nn.Sequential(Shortcut(), Shortcut()), ["block.0", "block.1", "block"]),
        (Halves(), ["block"]),
        (Bypassed(), ["block"]),
        (nn.Sequential(*[nn.ReLU()] * 2), ["block"]),  # the same module twice
        (nn.Sequential(nn.Dropout(0.5), nn.Identity()), ["block.0", "block.1", "block"]),
    ],
)
def test_a_single_path_has_no_branches(block, names):
    net = Toy(block).train()
    found = single_path(net, torch.rand(2, 3, 5, 5))
    by_module = {module: name for name, module in net.named_modules()}
    assert [by_module[module] for module, _ in found] == ["stem", *names, "head"]
    assert {tuple(shape) for _, shape in found} == {(2, 4, 5, 5), (2, 2)}
    assert all(module.training and not module._forward_hooks for module in net.modules())
    assert all(parameter.requires_grad for parameter in net.parameters())


class Apply(nn.Module):
    """A function as a layer."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.forward = function


TOKENS = Apply(lambda x: x.flatten(2).transpose(1, 2))  # places become tokens (N, T, C), as in a vision transformer


@pytest.mark.parametrize(
    ("modules", "where"),
    [
        ([nn.Conv2d(3, 8, 1), nn.Flatten(), nn.Linear(128, 2)], "0"),
        ([nn.Conv2d(3, 8, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2)], "0"),
        ([nn.Conv2d(3, 8, 1), nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(72, 2)], "0"),
        (
            [nn.Conv2d(3, 8, 2, 2), nn.Conv2d(8, 9, 2), nn.Upsample(scale_factor=4), nn.Flatten(), nn.Linear(144, 2)],
            "0",
        ),
        ([nn.Conv2d(3, 8, 2, 2), TOKENS, nn.Linear(8, 2), nn.Flatten()], None),
        ([nn.Conv2d(3, 8, 2, 2), Permute([0, 2, 3, 1]), nn.Linear(8, 3), nn.Flatten()], None),
        ([nn.Conv2d(3, 8, 4), nn.Flatten(), nn.Linear(8, 2)], None),  # all of the image at once
        ([nn.Flatten(), nn.Linear(48, 2)], None),
    ],
)
def test_the_last_feature_maps(modules, where):
    net = nn.Sequential(*modules)
    assert last_feature_maps(net, 4) is (None if where is None else net.get_submodule(where))


def test_a_network_without_a_gradient_has_no_path():
    largest_channel = Apply(lambda x: x.argmax(dim=1).float())
    assert single_path(nn.Sequential(largest_channel, nn.Flatten()), torch.rand(1, 3, 4, 4)) == []
