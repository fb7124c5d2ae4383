"""The same network, data and optimizer in Keras and here, step by step; keras_reference.py made Keras's numbers."""

import json
from pathlib import Path

import pytest
import torch

from glassbox.config.cnn import Hyperparameters
from glassbox.models import Classifier
from glassbox.models.layers import totals
from glassbox.models.networks.cnn import TwoBlockCNN
from tests.models.networks import keras_reference as reference
from tests.training.toys import images_of, learning, run

KERAS = json.loads(Path(reference.__file__).with_suffix(".json").read_text())


def network() -> TwoBlockCNN:
    """With the reference's kernels, from Keras's layout to PyTorch's."""
    made = TwoBlockCNN(Hyperparameters(**reference.NETWORK), reference.SIDE, reference.CLASSES)
    conv1, conv2, dense, output = (torch.from_numpy(kernel) for kernel in reference.kernels())
    with torch.no_grad():
        made.block1.conv.weight.copy_(conv1.permute(3, 2, 0, 1))
        made.block2.conv.weight.copy_(conv2.permute(3, 2, 0, 1))
        # Keras flattens (height, width, channel), PyTorch (channel, height, width).
        made.dense.weight.copy_(dense.view(2, 2, 5, 6).permute(3, 2, 0, 1).reshape(6, 20))
        made.output.weight.copy_(output.T)
    return made


@pytest.mark.parametrize("name", reference.OPTIMIZERS)
def test_it_learns_what_keras_learns(name):
    how = reference.OPTIMIZERS[name]
    others = {key: value for key, value in how.items() if key != "learning_rate"}
    split, settings = images_of(*reference.data()), learning(name, how["learning_rate"], **others)
    epochs = list(run(Classifier(network()), split, split, settings, epochs=reference.STEPS, batch_size=16))
    expected = KERAS[name]["history"]
    losses = [epoch.validation_loss + epoch.weight_penalty for epoch in epochs]
    assert losses == pytest.approx([step["val_loss"] for step in expected], rel=1e-5)
    assert [epoch.validation_accuracy for epoch in epochs] == pytest.approx([s["val_accuracy"] for s in expected])


def test_it_counts_parameters_as_keras_does():
    assert totals(network())["total"] == KERAS["adam"]["parameters"]
