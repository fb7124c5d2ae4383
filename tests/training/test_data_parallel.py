from collections.abc import Iterator

import pytest
import torch
from timm.layers import DropPath
from torch import nn
from torchvision.ops import StochasticDepth

from glassbox.models import Classifier
from glassbox.models.networks.cnn_cpu import Dropout
from glassbox.models.networks.torchvision_registry import DropoutLinear
from glassbox.training import data_parallel
from glassbox.training.process_group import Ranks


def shares(layer: nn.Module, x: torch.Tensor, size: int) -> Iterator[torch.Tensor]:
    """What each of some ranks makes of its share, one after the other in this process: nothing is sent between them."""
    for rank in range(size):
        ranks = Ranks(rank, size)
        twin, batch = data_parallel.joined(Classifier(nn.Sequential(layer)), ranks)
        batch.images = len(x)
        torch.manual_seed(1)
        out = twin.network[0](x[ranks.share(len(x))].clone(memory_format=torch.preserve_format))
        yield torch.cat([out.flatten(1), torch.rand(len(out), 1)], 1)  # the generator has gone on as far as the others'


LAYERS = {
    "dropout": nn.Dropout(0.4),
    "in place": nn.Dropout(0.4, inplace=True),
    "dropout of the CNN": Dropout(0.4),
    "no dropout of the CNN": Dropout(0.0),
    "none": nn.Dropout(0.0),
    "depth": StochasticDepth(0.5, "row"),
    "depth of the batch": StochasticDepth(0.5, "batch"),
    "depth of timm": DropPath(0.5),
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
    parts = list(shares(LAYERS[name], x, size))
    assert torch.equal(torch.cat(parts)[:, :-1], expected.flatten(1).to(parts[0].dtype))
    assert all(part[0, -1] == after for part in parts if len(part))
    if name.startswith(("dropout", "in place")):
        assert 0 < (expected == 0).sum() < expected.numel()


def test_what_is_dropped_before_the_last_layer_is_dropped_alike():
    head, x = DropoutLinear(nn.Linear(8, 3), 0.5), torch.rand(5, 8)
    torch.manual_seed(1)
    expected = head(x)
    torch.testing.assert_close(torch.cat(list(shares(head, x, 2)))[:, :-1], expected)
    assert not torch.equal(expected, head.eval()(x))
    torch.testing.assert_close(torch.cat(list(shares(head, x, 2)))[:, :-1], head(x))


def test_the_twin_has_the_same_weights_and_leaves_the_classifier_as_it_is():
    model = Classifier(nn.Sequential(nn.BatchNorm2d(2), Dropout(0.5), nn.Linear(2, 2)))
    model.heads = ("2",)
    before = [(type(module), set(vars(module))) for module in model.modules()]
    twin, _ = data_parallel.joined(model, Ranks(0, 2))
    assert [(type(module), set(vars(module))) for module in model.modules()] == before
    for key, tensor in model.state_dict(keep_vars=True).items():
        assert twin.state_dict(keep_vars=True)[key] is tensor, key
    twin.train_head_only(True)
    assert [parameter.requires_grad for parameter in model.parameters()] == [False, False, True, True]
    assert not twin.network[0].training
    assert model.network[0].training
