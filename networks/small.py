"""An example of a network of one's own: `model.name: python:small:build`."""

from torch import nn


def build(n_classes: int, width: int = 16, dropout: float = 0.0) -> nn.Module:
    """Two convolutions and a dense layer, for images (N, 3, H, W) of any size from 8 x 8 on.

    Args:
        n_classes: outputs; given by glassbox.
        width: channels of the first convolution; the second has twice as many. This and what follows are the keys of
            `model.arguments`.
        dropout: share of the features dropped before the dense layer.
    """
    return nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(width, 2 * width, 3, padding=1),
        nn.BatchNorm2d(2 * width),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(dropout),
        nn.Linear(2 * width, n_classes),
    )
