import numpy as np
import pytest
import torch
from torch import nn

from glassbox.models import Classifier
from glassbox.xai_metrics.randomization import cascade, emprt, entropy

TWO, FOUR = np.array([[[0.0, 0.0], [1.0, 1.0]]]), np.array([[[0.0, 1.0], [2.0, 3.0]]])  # different values
NONE = np.zeros((1, 2, 2))


def test_entropy_of_histograms():
    assert entropy(np.concatenate([TWO, FOUR, NONE + 1]), 4) == pytest.approx([np.log(2), np.log(4), 0])
    assert entropy(FOUR, 2) == pytest.approx([np.log(2)])
    assert entropy(-7 * FOUR + 3, 4) == pytest.approx([np.log(4)])  # no unit, no sign


def test_emprt_is_the_rise_in_nats():
    assert emprt(TWO, FOUR, 4) == pytest.approx([np.log(2)])  # from log 2 to log 4
    assert emprt(FOUR, TWO, 4) == pytest.approx([-np.log(2)])  # the same way back: no direction is favoured
    assert emprt(TWO, TWO, 4) == [0]
    assert np.isnan([emprt(NONE, FOUR, 4), emprt(FOUR, NONE, 4)]).all()


class Net(nn.Module):
    def __init__(self, value: float) -> None:
        super().__init__()
        self.first, self.relu, self.second, self.third = nn.Linear(1, 1), nn.ReLU(), nn.Linear(1, 1), nn.Linear(1, 1)
        self.loose = nn.Parameter(torch.zeros(1))  # of no layer
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.fill_(value)

    def values(self) -> list[float]:
        return [layer.weight.item() for layer in (self.first, self.second, self.third)] + [self.loose.item()]


@pytest.mark.parametrize(
    ("steps", "names", "after"),
    [
        (3, ["third", "second", "first"], [[1, 1, 2, 1], [1, 2, 2, 1], [2, 2, 2, 2]]),
        (9, ["third", "second", "first"], [[1, 1, 2, 1], [1, 2, 2, 1], [2, 2, 2, 2]]),
        (2, ["second", "first"], [[1, 2, 2, 1], [2, 2, 2, 2]]),
        (1, ["first"], [[2, 2, 2, 2]]),
    ],
)
def test_the_cascade_goes_from_the_output_to_the_input(steps, names, after):
    trained, untrained = (Classifier(Net(value), (0, 0, 0), (1, 1, 1)) for value in (1, 2))
    models = [*cascade(trained, untrained, ["first", "relu", "second", "third"], steps)]
    assert [name for name, _ in models] == names
    assert [model.network.values() for _, model in models] == after  # each is a model of its own
    assert trained.network.values() == [1, 1, 1, 1]
    assert untrained.network.values() == [2, 2, 2, 2]
