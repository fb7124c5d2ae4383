"""The two-block network of the CNN paper (figures 1 and 6-9), with the semantics of Keras where they change results."""

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from glassbox.config.cnn import Hyperparameters, hyperparameters
from glassbox.core.errors import UserError
from glassbox.models.networks.base import Source
from glassbox.models.networks.cnn_cpu import Dropout, Flatten, may_pool_first


class TwoBlockCNN(nn.Module):
    """conv - activation - batch norm - max pool - dropout; the same again without dropout; dense - dropout - output.

    As in Keras: 'same' padding, pooling stride = pool size without padding, batch norm with epsilon 1e-3 and, in the
    paper, momentum 0.99 (PyTorch counts the other way: 0.01), Glorot-uniform kernels, zero biases.

    Shape: (N, 3, image_size, image_size) float to logits (N, n_classes).

    Raises:
        UserError: the pooling leaves no pixel.
    """

    def __init__(self, p: Hyperparameters, image_size: int, n_classes: int) -> None:
        super().__init__()
        side = image_size // p.pool_size_1 // p.pool_size_2
        if side < 1:
            raise UserError(
                f"model.arguments.pool_size_1 = {p.pool_size_1} and pool_size_2 = {p.pool_size_2} leave nothing of an "
                f"image of {image_size} pixels (data.image_size or model.input_size): their product must not exceed it"
            )
        act1 = _activation(p.activation_func1, p.leaky_relu_alpha_1)
        act2 = _activation(p.activation_func2, p.leaky_relu_alpha_2)
        momentum = 1 - p.batch_norm_momentum
        self.block1 = Block(3, p.conv1_filters, p.conv1_kernel_size, act1, p.pool_size_1, momentum)
        self.dropout1 = Dropout(p.dropout_1)
        self.block2 = Block(p.conv1_filters, p.conv2_filters, p.conv2_kernel_size, act2, p.pool_size_2, momentum)
        self.flatten = Flatten()
        self.dense = nn.Linear(p.conv2_filters * side * side, p.dense_units_1)
        self.activation = _activation(p.activation_func_dense, p.leaky_relu_alpha_3)
        self.dropout2 = Dropout(p.dense_dropout_1)
        self.output = nn.Linear(p.dense_units_1, n_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        self.places = image_size // p.pool_size_1  # side of the second convolution's input
        self.l2 = (p.l2_reg_1, p.l2_reg_2, p.dense_l2_reg_1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.dropout1(self.block1(x))  # (N, F1, H/p1, W/p1)
        x = self.block2(x)  # (N, F2, H/p1/p2, W/p1/p2)
        x = self.flatten(x)  # (N, F2 * H/p1/p2 * W/p1/p2)
        x = self.dropout2(self.activation(self.dense(x)))  # (N, D)
        return self.output(x)  # (N, K)

    def penalties(self) -> tuple[tuple[nn.Parameter, float], ...]:
        """(kernel, lambda) of every penalty lambda * sum(w^2); biases, batch norm and the output layer have none."""
        kernels = (self.block1.conv.weight, self.block2.conv.weight, self.dense.weight)
        return tuple(zip(kernels, self.l2, strict=True))

    def affine_stem(self) -> nn.Module:
        """A layer that is reached from the input by affine maps alone."""
        return self.block1.conv

    def grad_cam_layer(self) -> nn.Module:
        """The layer whose output Grad-CAM weighs: the last convolution, after its activation and before the pooling;
        the first one where its pooling leaves one place."""
        return (self.block2 if self.places > 1 else self.block1).activation


class Block(nn.Module):
    """conv - activation - batch norm - max pool."""

    def __init__(
        self, channels: int, filters: int, kernel: int, activation: nn.Module, pool: int, momentum: float
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, filters, kernel, padding="same")
        self.activation = activation
        self.norm = nn.BatchNorm2d(filters, eps=1e-3, momentum=momentum)
        self.pool = nn.MaxPool2d(pool)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x)
        if may_pool_first(self.activation, self.norm, self.pool):
            return self.norm(self.activation(self.pool(x)))  # the same bits
        return self.pool(self.norm(self.activation(x)))


def _activation(name: str, alpha: float | None) -> nn.Module:
    # Not in place: SHAP's and captum's hooks need the values before.
    if name == "relu":
        return nn.ReLU()
    if alpha is None:
        raise UserError("model.arguments has leaky_relu without its slope, leaky_relu_alpha_1, _2 or _3")
    return nn.LeakyReLU(alpha)


class CNN(Source):
    """The one network of this module."""

    def check_name(self, name: str) -> None:
        pass

    def make(self, name: str, arguments: Mapping[str, Any], size: int, n_classes: int) -> TwoBlockCNN:
        return TwoBlockCNN(hyperparameters(arguments), size, n_classes)

    def signature(self, name: str, error: TypeError) -> inspect.Signature:
        return inspect.signature(Hyperparameters)


SOURCE = CNN()
