import math

import numpy as np
import pytest
import timm
import torch
import torchvision
from conftest import plain
from torch import nn
from torch.nn import functional

from glassbox.explainers.base import Request
from glassbox.explainers.libra_grad import Balanced, LibraGrad
from glassbox.models import Classifier

GREY = torch.full((1, 2, 2, 3), 51, dtype=torch.uint8)  # 0.2 in each channel
GREY[0, 0, 0] = 255


class OfRow(nn.Module):
    """Logit 1 is a function of the row of all colours (N, 12), logit 0 is 0."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function, self.unused = function, nn.Parameter(torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        score = self.function(x.flatten(1))
        return torch.stack([torch.zeros_like(score), score], dim=1)


def explained(classifier: Classifier, images: torch.Tensor, target: int = 1) -> np.ndarray:
    targets = torch.full((len(images),), target)
    return LibraGrad(batch_size=4)(classifier, Request(images, targets, tuple(range(len(images))))).maps


def phi(x: float) -> float:
    return (1 + math.erf(x / math.sqrt(2))) / 2


SUM = 3 * (1 + 3 * 0.2)  # of the colours of the image
DEVIATION = math.sqrt(3 / 12 * (1 - SUM / 12) ** 2 + 9 / 12 * (0.2 - SUM / 12) ** 2 + 1e-5)


@pytest.mark.parametrize(
    ("function", "bright", "dark"),
    [
        # GELU(s) = s * Phi(s), of which Phi(s) is a constant.
        (lambda row: functional.gelu(row.sum(1)), 3 * phi(SUM), 0.6 * phi(SUM)),
        (lambda row: functional.silu(row.sum(1)), 3 / (1 + math.exp(-SUM)), 0.6 / (1 + math.exp(-SUM))),
        # The first colour, less the mean of the twelve, by the deviation: the others count by -1 / 12 each.
        (
            lambda row: functional.layer_norm(row, (12,))[:, 0],
            (1 - 3 / 12) / DEVIATION,
            -0.6 / 12 / DEVIATION,
        ),
        # One query of zeros attends alike to four tokens, the pixels' red: their mean.
        (
            lambda row: functional.scaled_dot_product_attention(
                row.new_zeros(len(row), 1, 1), row[:, :4, None], row[:, :4, None]
            ).flatten(),
            1 / 4,
            0.2 / 4,
        ),
        # Weights by softmax are constants: those of 1 and 0.2 are e / (e + 3 e^0.2) and e^0.2 / (e + 3 e^0.2).
        (
            lambda row: (row[:, :4].softmax(1) * row[:, :4]).sum(1),
            math.e / (math.e + 3 * math.exp(0.2)),
            0.2 * math.exp(0.2) / (math.e + 3 * math.exp(0.2)),
        ),
    ],
    ids=["gelu", "silu", "layer norm", "attention", "softmax"],
)
def test_each_rule_by_hand(function, bright, dark):
    (values,) = explained(plain(OfRow(function)), GREY)
    assert values == pytest.approx(np.array([[bright, dark], [dark, dark]]), rel=1e-5)


def test_a_gate_at_zero_is_finite():
    (values,) = explained(plain(OfRow(lambda row: functional.gelu(row.sum(1)))), torch.zeros_like(GREY))
    assert not values.any()


class Block(nn.Module):
    """A transformer's block without biases."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.norm = kind, nn.LayerNorm(8, bias=False)
        self.attention = nn.MultiheadAttention(8, 2, bias=False, batch_first=True)
        self.mlp = nn.Sequential(nn.LayerNorm(8, bias=False), nn.Linear(8, 16, bias=False), nn.GELU(), nn.Linear(16, 8))
        nn.init.zeros_(self.mlp[-1].bias)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        normed = self.norm(tokens)
        if self.kind == "module":
            mixed = self.attention(normed, normed, normed, need_weights=False)[0]
        elif self.kind == "function":
            mixed = functional.scaled_dot_product_attention(normed, normed, normed)
        else:
            mixed = (normed @ normed.transpose(1, 2)).softmax(-1) @ normed
        tokens = tokens + mixed
        return tokens + self.mlp(tokens)


@pytest.mark.parametrize("kind", ["module", "function", "by hand"])
def test_maps_add_up_to_the_logit_of_a_transformer_without_biases(kind):
    torch.manual_seed(0)
    patches = nn.Conv2d(3, 8, 4, 4, bias=False)
    network = nn.Sequential(
        patches,
        nn.Flatten(2),
        Transposed(),
        Block(kind),
        Block(kind),
        nn.Flatten(),
        nn.Linear(128, 3, bias=False),
    )
    classifier = Classifier(network, (0.5, 0.4, 0.3), (0.2, 0.2, 0.2))
    images = torch.randint(0, 256, (2, 16, 16, 3), dtype=torch.uint8)
    logits = classifier.eval()(images.permute(0, 3, 1, 2) / 255)[:, 1].detach().numpy()
    assert explained(classifier, images).sum(axis=(1, 2)) == pytest.approx(logits, rel=1e-4)


class Transposed(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.transpose(1, 2)


def test_in_a_network_of_relu_it_is_image_times_gradient(small_cnn):
    classifier = small_cnn(16).eval()
    images = torch.randint(0, 256, (2, 16, 16, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    x = (images.permute(0, 3, 1, 2) / 255).requires_grad_(True)
    (gradient,) = torch.autograd.grad(classifier(x)[:, 1].sum(), x)
    expected = ((x.detach() - 0.5) * gradient).sum(1)
    assert explained(classifier, images) == pytest.approx(expected.numpy(), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize(
    "network",
    [
        lambda: timm.create_model("vit_tiny_patch16_224", img_size=32, patch_size=8, depth=2, num_classes=3),
        lambda: timm.create_model("beit_base_patch16_224", img_size=32, depth=2, num_classes=3),
        lambda: timm.create_model("swin_tiny_patch4_window7_224", img_size=32, window_size=4, depths=(1, 1, 1, 1)),
        lambda: timm.create_model("cait_xxs24_224", img_size=32, depth=2, num_classes=3),
        lambda: timm.create_model("xcit_nano_12_p16_224", img_size=32, num_classes=3),
        lambda: timm.create_model("convnext_atto", num_classes=3),
        lambda: timm.create_model("mobilenetv3_small_050", num_classes=3),
        lambda: torchvision.models.VisionTransformer(32, 8, 2, 2, 16, 16, num_classes=3),
        lambda: torchvision.models.SwinTransformer([4, 4], 16, [1, 1], [2, 2], [4, 4], num_classes=3),
    ],
)
def test_the_rules_leave_answers_as_they_are(network):
    torch.manual_seed(0)
    classifier, x = network().eval(), torch.rand(2, 3, 32, 32, requires_grad=True)
    for weight in classifier.parameters():
        if not weight.any():  # else torchvision's ViT has the same answer for every image
            nn.init.normal_(weight)
    plain_logits = classifier(x)
    with Balanced():
        logits = classifier(x)
    torch.testing.assert_close(logits, plain_logits, rtol=1e-3, atol=1e-4)
    (plain_gradient,) = torch.autograd.grad(plain_logits.square().sum(), x)
    (gradient,) = torch.autograd.grad(logits.square().sum(), x)
    assert gradient.isfinite().all()
    assert (gradient - plain_gradient).norm() > 0.01 * plain_gradient.norm()
