"""A network of few wide convolutions, which learns small images quickly: in the line of the networks of CIFAR-10 speed
runs (Page 2018; Jordan 2024, "94% on CIFAR-10 in 3.29 seconds on a single GPU")."""

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.functional import conv2d, gelu, max_pool2d

from glassbox.core.errors import UserError
from glassbox.models.networks.base import Source

SOFTER = 9.0  # divisor of the logits, which begin small


class FastCNN(nn.Module):
    """Decorrelated patches, blocks that each halve the image, the largest value of each channel, and a dense layer.

    Shape: (N, 3, size, size) float to logits (N, n_classes).

    Args:
        n_classes: of the output.
        widths: channels of the blocks.
        convolutions: of each block; from the third on, their output is added to that of the first.
    """

    def __init__(self, n_classes: int, widths: tuple[int, ...] = (64, 256, 256), convolutions: int = 2) -> None:
        super().__init__()
        self.patches = Patches()
        channels = (self.patches.channels, *widths)
        self.blocks = nn.Sequential(*(Block(i, o, convolutions) for i, o in zip(channels, widths, strict=False)))
        self.dense = nn.Linear(widths[-1], n_classes, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.blocks(self.patches(x))
        return self.dense(x.amax(dim=(2, 3))) / SOFTER

    def grad_cam_layer(self) -> nn.Module:
        """The last block; of three blocks and 32 x 32 pixels its output has 3 x 3 places."""
        return self.blocks[-1]


class Patches(nn.Module):
    """Patches of 2 x 2 pixels in a basis that hardly correlates in photographs, each component with variance 1, and its
    negative beside it: sums and differences of pixels (the discrete cosine transform, DCT), of luma and two opponent
    colours. Nothing but the offsets is learnt. It does what a layer does that is made from the images' own principal
    components (Coates & Ng 2012), and needs no images to be made.
    """

    channels = 24

    def __init__(self) -> None:
        super().__init__()
        cosine = torch.tensor([[1.0, 1.0], [1.0, -1.0]]) / 2**0.5
        colour = nn.functional.normalize(torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, -1.0], [1.0, -2.0, 1.0]]))
        basis = torch.einsum("ab,cd,ef->acebdf", colour, cosine, cosine).reshape(12, 3, 2, 2)
        self.register_buffer("basis", basis)
        self.norm = nn.BatchNorm2d(12, affine=False)
        self.offsets = nn.Parameter(torch.zeros(self.channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(conv2d(x, self.basis))
        return gelu(torch.cat([x, -x], dim=1) + self.offsets.view(-1, 1, 1))


class Norm(nn.BatchNorm2d):
    """Batch norm that learns offsets, and no factors: the next layer has its own."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, momentum=0.4, affine=False)
        self.bias = nn.Parameter(torch.zeros(channels))


class Block(nn.Module):
    """Convolutions with batch norm and GELU; the first halves the image by max pooling."""

    def __init__(self, channels: int, width: int, convolutions: int) -> None:
        super().__init__()
        inputs = [channels] + [width] * (convolutions - 1)
        self.convolutions = nn.ModuleList(nn.Conv2d(n, width, 3, padding=1, bias=False) for n in inputs)
        self.norms = nn.ModuleList(Norm(width) for _ in inputs)
        for convolution in self.convolutions:
            nn.init.dirac_(convolution.weight[: convolution.in_channels])  # the first channels begin as copies

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = None
        for number, (convolution, norm) in enumerate(zip(self.convolutions, self.norms, strict=True)):
            x = convolution(x)
            if number == 0:
                x = max_pool2d(x, 2)
            x = norm(x)
            if number >= 2:
                x = x + first
            x = gelu(x)
            first = x if first is None else first
        return x


class Fast(Source):
    """The one network of this module."""

    def check_name(self, name: str) -> None:
        pass

    def make(self, name: str, arguments: Mapping[str, Any], size: int, n_classes: int) -> FastCNN:
        network = FastCNN(n_classes, **arguments)
        smallest = 1 + 2 ** len(network.blocks)  # of which the last pooling leaves one place
        if size < smallest:
            raise UserError(f"fast_cnn takes images of {smallest} pixels or more, not {size} (data.image_size)")
        return network

    def signature(self, name: str, error: TypeError) -> inspect.Signature:
        return inspect.signature(FastCNN)


SOURCE = Fast()
