"""The network of few wide convolutions."""

import pytest
import torch

from glassbox import models
from glassbox.core.errors import UserError
from glassbox.models.networks.fast_cnn import Block, FastCNN, Norm, Patches
from glassbox.models.preprocessing import Preprocessing

COLOURS = Preprocessing((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


def test_components_of_patches_by_hand():
    basis = Patches().basis.flatten(1)
    torch.testing.assert_close(basis @ basis.T, torch.eye(12))
    white = torch.ones(1, 3, 2, 2)
    found = (basis @ white.flatten()).tolist()
    assert found[0] == pytest.approx(12**0.5)  # the mean of luma, and nothing else
    assert found[1:] == pytest.approx([0.0] * 11, abs=1e-6)
    left = torch.tensor([[1.0, -1.0], [1.0, -1.0]]).expand(3, 2, 2)
    assert (basis @ left.flatten()).abs().argmax() == 1  # of luma, constant from top to bottom, falling to the right


def test_each_component_has_variance_one_and_its_negative_beside_it():
    patches = Patches().train()
    seen = []
    patches.norm.register_forward_hook(lambda module, inputs, output: seen.append(output))
    x = torch.rand(16, 3, 8, 8, generator=torch.Generator().manual_seed(0)).cumsum(dim=3)  # smooth, as photographs are
    out = patches(x)
    assert out.shape == (16, 24, 7, 7)
    assert seen[0].var(dim=(0, 2, 3), correction=0).tolist() == pytest.approx([1] * 12, abs=1e-2)
    torch.testing.assert_close(out[:, :12] - out[:, 12:], seen[0])  # gelu(x) - gelu(-x) = x


def test_batch_norm_learns_offsets_alone():
    norm = Norm(3)
    assert [name for name, _ in norm.named_parameters()] == ["bias"]
    norm.bias.data = torch.tensor([1.0, 2.0, 3.0])
    out = norm(torch.randn(64, 3, 4, 4, generator=torch.Generator().manual_seed(0)))
    torch.testing.assert_close(out.mean(dim=(0, 2, 3)), norm.bias.data)
    torch.testing.assert_close(out.var(dim=(0, 2, 3), correction=0), torch.ones(3), atol=1e-3, rtol=0)


def test_convolutions_begin_as_copies_of_their_first_channels():
    block = Block(2, 3, 2).eval()
    x = torch.rand(1, 2, 4, 4)
    torch.testing.assert_close(block.convolutions[0](x)[:, :2], x)


@pytest.mark.parametrize("convolutions", [2, 3])
def test_logits_of_images(convolutions):
    arguments = {"widths": [8, 8, 8], "convolutions": convolutions}
    model = models.build("fast_cnn", arguments, COLOURS, 32, 10).eval()
    assert model(torch.rand(2, 3, 32, 32)).shape == (2, 10)
    assert len([*model.network.blocks[0].convolutions]) == convolutions
    assert model.grad_cam_layer(32) is model.network.blocks[-1]
    assert FastCNN(10).eval()(torch.rand(1, 3, 9, 9)).shape == (1, 10)


def test_wrong_arguments_and_too_small_images_are_refused():
    with pytest.raises(UserError, match=r"fast_cnn takes images of 9 pixels or more, not 8"):
        models.build("fast_cnn", {}, COLOURS, 8, 10)
    with pytest.raises(UserError, match="width"):
        models.build("fast_cnn", {"width": 3}, COLOURS, 32, 10)
