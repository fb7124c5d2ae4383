from collections.abc import Iterator
from functools import partial

import pytest
import torch
from together import together
from torch import nn
from torchvision.ops import StochasticDepth

from glassbox.models import Classifier
from glassbox.models.cnn import Dropout
from glassbox.models.registry import DropoutLinear
from glassbox.training import data_parallel
from glassbox.training.process_group import Ranks

SHARES = [[3, 2], [4, 1], [5, 0]]  # of five images on two ranks
NORMS = {
    "float64": (partial(nn.BatchNorm2d, 4, dtype=torch.float64), (5, 4, 3, 2), 1e-12),
    "float32": (partial(nn.BatchNorm2d, 4), (5, 4, 3, 2), 1e-6),
    "of vectors": (partial(nn.BatchNorm1d, 4, eps=1e-3, momentum=0.3), (5, 4), 1e-6),
    "without weights": (partial(nn.BatchNorm2d, 4, affine=False), (5, 4, 3, 2), 1e-6),
    "cumulative": (partial(nn.BatchNorm2d, 4, momentum=None), (5, 4, 3, 2), 1e-6),
    "without statistics": (partial(nn.BatchNorm2d, 4, track_running_stats=False), (5, 4, 3, 2), 1e-6),
}


class Network(nn.Sequential):
    """Layers one after the other, the first of which is the head."""

    def head(self) -> nn.Module:
        return self[0]

    def penalties(self):
        return ()


def classifier(*layers: nn.Module) -> Classifier:
    return Classifier(Network(*layers), (0.0,) * 3, (1.0,) * 3)


def normalized(layer: nn.Module, x: torch.Tensor, gradient: torch.Tensor) -> dict[str, torch.Tensor]:
    """Two steps of a batch norm: outputs, gradients and statistics after them. The second one is of larger values."""
    found = {}
    for step in range(2):
        values = (x.detach() * (1 + step)).requires_grad_()
        y = layer(values)
        y.backward(gradient)
        found |= {f"y{step}": y.detach(), f"dx{step}": values.grad}
    found |= {f"d{name}": weight.grad for name, weight in layer.named_parameters()}
    return found | {name: buffer.clone() for name, buffer in layer.named_buffers()}


def drawn(name: str) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    make, shape, _ = NORMS[name]
    torch.manual_seed(0)
    layer, dtype = make(), torch.float64 if name == "float64" else torch.float32
    if layer.affine:
        nn.init.normal_(layer.weight)
        nn.init.normal_(layer.bias)
    x, gradient = (torch.randn(shape, dtype=dtype) + offset for offset in (2.0, 0.0))
    if x.ndim == 4:
        x, gradient = (values.contiguous(memory_format=torch.channels_last) for values in (x, gradient))
    return layer, x, gradient


def by_hand(ranks: Ranks) -> dict[str, torch.Tensor]:
    """The ranks' images have the values 1, 3 and 5, 7."""
    twin, _ = data_parallel.joined(classifier(nn.BatchNorm2d(1, eps=0.0)), ranks)
    x = torch.tensor([[[[1.0, 3.0]]], [[[5.0, 7.0]]]])[[ranks.rank]].requires_grad_()
    layer = twin.network[0]
    y = layer(x)
    (y * torch.tensor([1.0, 0.0] if ranks.rank == 0 else [0.0, 0.0])).sum().backward()
    return {"y": y.detach(), "dx": x.grad, "mean": layer.running_mean, "variance": layer.running_var,
            "bias": layer.bias.grad, "eval": layer.eval()(x).detach()}  # fmt: skip


def in_bfloat16(ranks: Ranks | None) -> torch.Tensor:
    """A batch norm of bfloat16 values, whose mean is large for their deviation."""
    twin = classifier(nn.BatchNorm2d(2))
    if ranks:
        twin, _ = data_parallel.joined(twin, ranks)
    x = (10 + torch.randn(6, 2, 4, 4, generator=torch.Generator().manual_seed(0))).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        return twin.network[0](x[ranks.share(6)] if ranks else x).detach()


def one_value(ranks: Ranks) -> str:
    twin, _ = data_parallel.joined(classifier(nn.BatchNorm1d(3)), ranks)
    with pytest.raises(ValueError, match="more than one value a channel") as error:
        twin.network[0](torch.zeros(1 - ranks.rank, 3))
    return str(error.value)


def on_each_rank(ranks: Ranks) -> dict:
    found = {"by hand": by_hand(ranks), "bfloat16": in_bfloat16(ranks), "one value": one_value(ranks)}
    for name in NORMS:
        for shares in SHARES:
            layer, x, gradient = drawn(name)
            twin, _ = data_parallel.joined(classifier(layer), ranks)
            own = (values.split(shares)[ranks.rank] for values in (x, gradient))
            found[name, tuple(shares)] = normalized(twin.network[0], *own)
    return found


@pytest.fixture(scope="module")
def both(tmp_path_factory) -> list[dict]:
    """What two ranks find."""
    return together(on_each_rank, 2, tmp_path_factory.mktemp("across"))


def test_batch_norm_on_two_ranks_by_hand(both):
    first, second = (rank["by hand"] for rank in both)
    # 1, 3, 5, 7: mean 4, variance 5; of the population 20/3.
    deviation = 5**0.5
    torch.testing.assert_close(first["y"].flatten(), torch.tensor([-3.0, -1.0]) / deviation)
    torch.testing.assert_close(second["y"].flatten(), torch.tensor([1.0, 3.0]) / deviation)
    for rank in (first, second):
        assert rank["mean"].item() == pytest.approx(0.1 * 4)
        assert rank["variance"].item() == pytest.approx(0.9 + 0.1 * 20 / 3)
        # In evaluation mode the running statistics count, and nobody waits for anybody.
        x = torch.tensor([1.0, 3.0] if rank is first else [5.0, 7.0])
        torch.testing.assert_close(rank["eval"].flatten(), (x - 0.4) / (0.9 + 2 / 3) ** 0.5)
    # L = y1, and z1 = -3 / deviation: dL/dx = (delta - 1/4 - z z1 / 4) / deviation, with z z1 / 4 = -3 (x - 4) / 20.
    expected = [1 - 0.25 - 9 / 20, -0.25 - 3 / 20, -0.25 + 3 / 20, -0.25 + 9 / 20]
    gradient = torch.cat([first["dx"].flatten(), second["dx"].flatten()]) * deviation
    torch.testing.assert_close(gradient, torch.tensor(expected))
    assert (first["bias"].item(), second["bias"].item()) == (1.0, 0.0)  # of each rank's own share


@pytest.mark.parametrize("shares", SHARES, ids=str)
@pytest.mark.parametrize("name", NORMS)
def test_batch_norm_on_two_ranks_is_that_of_the_joined_batch(both, name, shares):
    layer, *values = drawn(name)
    expected, found = normalized(layer, *values), [rank[name, tuple(shares)] for rank in both]
    for key, value in expected.items():
        parts = [rank[key] for rank in found]
        if key.startswith(("y", "dx")):
            assert [len(part) for part in parts] == shares
            joined = torch.cat(parts)
        else:
            joined = parts[0] + parts[1] if key.startswith("d") else parts[0]
            assert key.startswith("d") or torch.equal(*parts)
        torch.testing.assert_close(
            joined, value, rtol=NORMS[name][2], atol=NORMS[name][2], msg=lambda m, key=key: key + m
        )


def test_statistics_of_bfloat16_values_are_not_rounded_to_it(both):
    joined = torch.cat([rank["bfloat16"] for rank in both])
    assert joined.dtype == torch.bfloat16
    torch.testing.assert_close(joined.float(), in_bfloat16(None).float(), rtol=2**-8, atol=0)


def test_one_value_on_all_ranks_together_is_refused_by_all(both):
    assert {rank["one value"] for rank in both} == {
        "batch norm needs more than one value a channel in training, and 1 is there"
    }


def of_ranks(layer: nn.Module, x: torch.Tensor, size: int) -> Iterator[torch.Tensor]:
    """What each of some ranks makes of its share, one after the other in this process: nothing is sent between them."""
    for rank in range(size):
        twin, batch = data_parallel.joined(classifier(layer), Ranks(rank, size))
        batch.images = len(x)
        torch.manual_seed(1)
        out = twin.network[0](x[Ranks(rank, size).share(len(x))])
        yield torch.cat([out.flatten(1), torch.rand(len(out), 1)], 1)  # the generator has gone on as far as the others'


LAYERS = {
    "dropout": nn.Dropout(0.4),
    "in place": nn.Dropout(0.4, inplace=True),
    "of the CNN": Dropout(0.4),
    "none of the CNN": Dropout(0.0),
    "none": nn.Dropout(0.0),
    "depth": StochasticDepth(0.5, "row"),
    "depth of the batch": StochasticDepth(0.5, "batch"),
}


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("name", LAYERS)
def test_dropped_is_what_one_process_would_drop(name, size, dtype, order):
    x = (1 + torch.rand(5, 3, 4, 6, generator=torch.Generator().manual_seed(0))).to(dtype).to(memory_format=order)
    torch.manual_seed(1)
    expected = LAYERS[name](x.clone(memory_format=torch.preserve_format))
    after = torch.rand(1)
    parts = list(of_ranks(LAYERS[name], x, size))
    assert torch.equal(torch.cat(parts)[:, :-1], expected.flatten(1).to(parts[0].dtype))
    assert all(part[0, -1] == after for part in parts if len(part))
    if name.startswith(("dropout", "of")):
        assert 0 < (expected == 0).sum() < expected.numel()


def test_what_is_dropped_before_the_last_layer_is_dropped_alike():
    head = DropoutLinear(nn.Linear(8, 3), 0.5)
    x = torch.rand(5, 8)
    torch.manual_seed(1)
    expected = head(x)
    parts = [part[:, :-1] for part in of_ranks(head, x, 2)]
    torch.testing.assert_close(torch.cat(parts), expected)
    assert not torch.equal(expected, head.eval()(x))
    torch.testing.assert_close(torch.cat([part[:, :-1] for part in of_ranks(head, x, 2)]), head(x))


def test_the_twin_has_the_same_weights_and_leaves_the_classifier_as_it_is():
    model = classifier(nn.Linear(2, 2), nn.BatchNorm2d(2), Dropout(0.5))
    before = [(type(module), set(vars(module))) for module in model.modules()]
    twin, _ = data_parallel.joined(model, Ranks(0, 2))
    assert [(type(module), set(vars(module))) for module in model.modules()] == before
    for key, tensor in model.state_dict(keep_vars=True).items():
        assert twin.state_dict(keep_vars=True)[key] is tensor, key
    twin.train_head_only(True)
    assert [parameter.requires_grad for parameter in model.parameters()] == [True, True, False, False]
    assert not twin.network[1].training
    assert model.network[1].training
