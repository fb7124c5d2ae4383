from dataclasses import replace

import pytest
import torch
from torch import nn

from glassbox import models
from glassbox.models import Classifier
from glassbox.models.preprocessing import Preprocessing
from glassbox.training import precision
from tests.training.toys import ADAM, PLACE, run, split

AUTO = replace(PLACE, dtype=torch.bfloat16, automatic=True)


def build(name: str, side: int, **arguments: object) -> Classifier:
    return models.build(name, arguments, Preprocessing((0.5,) * 3, (0.2,) * 3), side, 3)


def test_products_of_each_result_by_hand():
    # The convolution gives 4 * 6 * 6 numbers of 3 * 3 * 3 products each, the dense layer 2 of 144.
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 2))
    assert precision.products_per_result(Classifier(network), 8) == pytest.approx((144 * 27 + 2 * 144) / (144 + 2))
    # Two groups: each result has the products of half of the channels.
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1, groups=2), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert precision.products_per_result(Classifier(network), 8) == pytest.approx((3 + 2) / 2)


@pytest.mark.parametrize(
    ("name", "side", "dtype"),
    [
        ("timm/tf_efficientnet_lite0", 96, torch.float32),
        ("timm/mobilenetv3_small_050", 96, torch.float32),
        ("timm/resnet10t", 64, torch.bfloat16),
        ("timm/convnext_atto", 64, torch.bfloat16),
    ],
)
def test_auto_is_float32_where_each_result_takes_few_products(name, side, dtype):
    classifier = build(name, side).train()
    before = {key: value.clone() for key, value in classifier.state_dict().items()}
    assert precision.suited(AUTO, classifier, side).dtype == dtype
    assert classifier.training
    for key, value in classifier.state_dict().items():
        assert torch.equal(value, before[key])


def test_a_precision_that_is_given_stays():
    classifier = build("timm/mobilenetv3_small_050", 32)
    for place in (replace(AUTO, automatic=False), PLACE, replace(AUTO, device=torch.device("cuda"))):
        assert precision.suited(place, classifier, 32) == place


class Seen(nn.Module):
    """Remembers the data type of a dense layer's results."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.wide, self.last, self.dtypes = nn.Linear(3, width), nn.Linear(width, 2), set()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = self.wide(x.mean(dim=(2, 3)))
        self.dtypes.add(features.dtype)
        return self.last(features)


def test_a_training_uses_it():
    classifier = Classifier(Seen(4))  # 3 products for each of 4 results
    list(run(classifier, split(8), split(4), ADAM, place=AUTO, epochs=1))
    assert classifier.network.dtypes == {torch.float32}
