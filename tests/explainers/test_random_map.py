import numpy as np
import torch

from glassbox.explainers.base import Request
from glassbox.explainers.random_map import RandomMap


def test_a_standard_normal_map_that_knows_only_its_seed(linear):
    images = torch.zeros(4, 40, 40, 3, dtype=torch.uint8)
    images[3] = 255
    made = RandomMap()(linear(np.ones((40, 40))), Request(images, torch.tensor([0, 1, 0, 0]), (1, 1, 2, 1)))
    assert np.array_equal(made.maps[0], made.maps[3])  # the image does not matter
    assert not np.array_equal(made.maps[0], made.maps[1])
    assert not np.array_equal(made.maps[0], made.maps[2])
    assert abs(made.maps.mean()) < 0.05
    assert abs(made.maps.std() - 1) < 0.05
    assert made.evaluations.tolist() == [0] * 4
