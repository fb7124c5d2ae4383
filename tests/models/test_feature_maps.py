from collections.abc import Callable

import pytest
import timm
import torch
from torch import nn
from torchvision.ops import Permute

from glassbox.models.feature_maps import as_maps, last_feature_maps, last_layer, single_path


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
        ([nn.Conv2d(3, 8, 2, 2), TOKENS, nn.Linear(8, 2), nn.Flatten()], "2"),
        ([nn.Conv2d(3, 8, 2, 2), Permute([0, 2, 3, 1]), nn.Linear(8, 3), nn.Flatten()], "2"),
        # Its last features lie on no square: those before are too early.
        ([nn.Conv2d(3, 8, 2, 2), nn.Conv2d(8, 8, (2, 1)), nn.Flatten(), nn.Linear(16, 2)], None),
        ([nn.Conv2d(3, 8, 2, 2), nn.Conv2d(8, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()], "2"),
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


def numbered(*shape: int) -> torch.Tensor:
    return torch.arange(torch.Size(shape).numel(), dtype=torch.float32).view(shape)


def test_feature_maps_stay_as_they_are():
    maps = numbered(2, 5, 3, 3)
    assert as_maps(maps) is maps


def test_channels_come_first():
    maps = as_maps(numbered(1, 2, 2, 3))  # place (y, x) has channels 3 * (2 * y + x) + (0, 1, 2)
    assert maps.tolist() == [[[[0, 3], [6, 9]], [[1, 4], [7, 10]], [[2, 5], [8, 11]]]]


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("prefix", [0, 1, 5])
def test_tokens_of_places_are_put_back_row_by_row(prefix, known):
    places = 4 if not (prefix == 5 and not known) else 16  # five and four tokens would be nine places
    tokens = numbered(1, prefix + places, 2)  # token t has channels 2 * t and 2 * t + 1
    side = int(places**0.5)
    expected = 2 * (prefix + torch.arange(places).view(side, side))
    maps = as_maps(tokens, prefix if known else None)
    assert maps.shape == (1, 2, side, side)
    assert maps[0, 0].tolist() == expected.tolist()
    assert maps[0, 1].tolist() == (expected + 1).tolist()


def test_tokens_before_the_places_that_are_gone_already_are_not_taken_off_again():
    assert as_maps(numbered(1, 4, 3), prefix=1).shape == (1, 3, 2, 2)


@pytest.mark.parametrize(
    "shape",
    [
        (2, 3), (2, 3, 4, 2, 2), (4,),  # no features of places that are known
        (2, 8, 1, 1), (2, 1, 1, 8), (2, 1, 8),  # one place
        (2, 8, 2, 3), (2, 2, 3, 8), (2, 3, 8),  # no square
        (2, 81 + 18, 8),  # too many tokens before a square
    ],
)  # fmt: skip
def test_what_has_no_square_of_places_is_refused(shape):
    assert as_maps(torch.zeros(shape)) is None


class Block(nn.Module):
    """Each token gets the mean of all, as in attention that looks everywhere alike."""

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return tokens + tokens.mean(dim=1, keepdim=True)


class Transformer(nn.Module):
    """Four patches of 2 x 2 pixels, and a class token before them, in two blocks; the head begins with weights of zero,
    as torchvision's does."""

    def __init__(self, pool: str) -> None:
        super().__init__()
        self.patches, self.token = nn.Conv2d(3, 6, 2, 2), nn.Parameter(torch.ones(1, 1, 6))
        self.blocks, self.norm = nn.Sequential(Block(), Block()), nn.LayerNorm(6)
        self.head, self.pool = nn.Linear(6, 2), pool
        nn.init.zeros_(self.head.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = torch.cat([self.token.expand(len(x), 1, 6), TOKENS(self.patches(x))], dim=1)
        tokens = self.norm(self.blocks(tokens))
        return self.head(tokens[:, 0] if self.pool == "token" else tokens[:, 1:].mean(dim=1))


@pytest.mark.parametrize(("pool", "where"), [("token", "blocks.0"), ("mean", "norm")])
def test_the_places_of_a_transformer_are_those_that_its_decision_depends_on(pool, where):
    """With a class token those of the last block lead nowhere: it looks at those of the block before."""
    net = Transformer(pool).train()
    assert last_feature_maps(net, 4) is net.get_submodule(where)
    assert all(module.training and not module._forward_hooks for module in net.modules())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in net.parameters())


class TwoScales(nn.Module):
    """Tokens of patches of two sizes, side by side, each stream with a normalisation and a last layer of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.ModuleList([nn.Conv2d(3, 6, side, side) for side in (2, 4)])
        self.blocks = nn.ModuleList([Block(), Block()])
        self.norms = nn.ModuleList([nn.LayerNorm(6), nn.LayerNorm(6)])
        self.heads = nn.ModuleList([nn.Linear(6, 2), nn.Linear(6, 2)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        streams = zip(self.patches, self.blocks, self.norms, self.heads, strict=True)
        return sum(head(norm(block(TOKENS(patches(x)))).mean(dim=1)) for patches, block, norm, head in streams)


def test_where_streams_go_side_by_side_it_is_the_last_normalisation_that_matters():
    net = TwoScales()
    assert last_feature_maps(net, 8) is net.norms[1]


@pytest.mark.parametrize(
    ("name", "size", "arguments", "layer"),
    [
        ("tnt_s_patch16_224", 32, {"img_size": 32, "depth": 2}, "blocks.1.norm_out"),
        ("crossvit_tiny_240", 240, {}, "blocks.2.fusion.1.norm1"),
    ],
)
def test_transformers_of_several_scales(name, size, arguments, layer):
    net = timm.create_model(name, num_classes=3, **arguments)
    assert last_feature_maps(net, size) is net.get_submodule(layer)


def test_the_last_layer_has_an_output_for_each_class():
    net = nn.Sequential(nn.Conv2d(3, 7, 1), nn.Flatten(), nn.Linear(7, 2), nn.Linear(2, 7), nn.Linear(7, 4))
    assert [last_layer(net, classes) for classes in (7, 2, 4, 3)] == ["3", "2", "4", ""]
    assert last_layer(nn.Sequential(nn.Linear(3, 9), nn.Conv2d(9, 5, 1), nn.ReLU()), 5) == "1"
