import pytest
import torch
from torch import nn

from glassbox.execution import compute
from glassbox.models.networks.cnn import Block
from glassbox.models.networks.cnn_cpu import Dropout, Flatten, may_pool_first


@pytest.mark.parametrize("negative", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("activation", [nn.ReLU(), nn.LeakyReLU(0.2)])
def test_pooling_first_changes_no_bit(negative, dtype, activation):
    torch.manual_seed(0)
    block, x = Block(3, 32, 3, activation, 3, 0.01), torch.rand(4, 3, 32, 32)
    layers = block.activation, block.norm, block.pool
    assert not may_pool_first(*layers)  # in training mode
    block(x)  # running statistics other than 0 and 1
    with torch.no_grad(), compute.autocast(x.device, dtype):
        block.norm.weight.uniform_(-1 if negative else 0, 1)
        block.eval()
        assert may_pool_first(*layers) is not negative
        assert torch.equal(block(x), block.pool(block.norm(block.activation(block.conv(x)))))


def test_a_hook_sees_the_layers_in_their_order():
    block, shapes = Block(3, 32, 3, nn.ReLU(), 3, 0.01).eval(), []
    block.activation.register_forward_hook(lambda _, __, output: shapes.append(tuple(output.shape)))
    block(torch.rand(2, 3, 32, 32))
    assert shapes == [(2, 32, 32, 32)]


def test_the_gradient_of_flatten_has_the_memory_order_of_the_features():
    x = torch.rand(2, 3, 4, 4).to(memory_format=torch.channels_last).requires_grad_()
    features, weights = x * 2, torch.rand(2, 48)
    (gradient,) = torch.autograd.grad((Flatten()(features) * weights).sum(), features)
    assert gradient.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(gradient, weights.view(2, 3, 4, 4))


@pytest.mark.parametrize("p", [0.0, 0.3, 0.5])
@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
def test_dropout_drops_its_share_and_keeps_the_mean(p, order):
    x = (torch.rand(64, 16, 10, 10) + 1).to(memory_format=order).requires_grad_(True)
    layer = Dropout(p).train()
    torch.manual_seed(0)
    out = layer(x)
    kept = out != 0
    # 102,400 draws: five standard deviations of the share.
    assert kept.float().mean().item() == pytest.approx(1 - p, abs=5 * (p * (1 - p) / kept.numel()) ** 0.5)
    assert torch.allclose(out[kept], x[kept] / (1 - p))
    assert out.is_contiguous(memory_format=order)
    out.sum().backward()
    assert torch.allclose(x.grad, kept.float() / (1 - p))  # the same ones
    # Neighbours, images and passes are dropped independently.
    again = layer(x) != 0
    pairs = ((kept[1:], kept[:-1]), (kept[..., 1:], kept[..., :-1]), (kept[:, 1:], kept[:, :-1]), (kept, again))
    for a, b in pairs:
        assert (a & b).float().mean().item() == pytest.approx((1 - p) ** 2, abs=0.01)
    torch.manual_seed(0)
    assert torch.equal(layer(x), out)
    assert layer.eval()(x) is x
