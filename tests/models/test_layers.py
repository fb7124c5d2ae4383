import torch
from torch import nn

from glassbox.models.layers import Layer, layers, totals


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
