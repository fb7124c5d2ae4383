import numpy as np
import pytest
import torch

from glassbox.config.explain import PartitionShap as Settings
from glassbox.explainers.base import Request
from glassbox.explainers.partition_shap import PartitionShap

WEIGHTS = np.array([[0.1, 0.2, 0.0, 0.0], [0.0, 0.1, 0.0, 0.0], [0.0, 0.0, 0.3, 0.0], [0.0, 0.0, 0.05, 0.1]])
WHITE = torch.full((1, 4, 4, 3), 255, dtype=torch.uint8)


def test_of_a_sum_every_pixel_gets_its_part(probability):
    # No pixel needs another one, so that Owen values, Shapley values and weights are the same.
    made = PartitionShap(Settings(evaluations=400), (0.0, 0.0, 0.0), 16)(
        probability(WEIGHTS, 0.1), Request(WHITE, torch.tensor([1]), (0,))
    )
    assert made.maps[0] == pytest.approx(WEIGHTS, abs=1e-5)
    assert made.details["additivity_error"] == pytest.approx(0, abs=1e-5)


def test_few_evaluations_share_what_a_part_is_worth(probability):
    both = Request(WHITE.expand(2, -1, -1, -1), torch.tensor([1, 0]), (0, 0))
    made = PartitionShap(Settings(evaluations=6), (0.0, 0.0, 0.0), 16)(probability(WEIGHTS, 0.1), both)
    assert made.maps[0].sum() == pytest.approx(WEIGHTS.sum(), abs=1e-5)
    assert made.maps[0][:2].sum() == pytest.approx(WEIGHTS[:2].sum(), abs=1e-5)  # the first cut
    assert np.ptp(made.maps[0][:2, :2]) == 0  # as far as it went
    assert made.maps[1] == pytest.approx(-made.maps[0], abs=1e-5)
    assert made.details["additivity_error"] == pytest.approx([0, 0], abs=1e-5)
