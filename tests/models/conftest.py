import pytest
import torch
from conftest import SMALL_CNN

from glassbox import models
from glassbox.models.preprocessing import Preprocessing

MEAN, STD = (0.2, 0.4, 0.6), (0.5, 0.5, 0.25)


@pytest.fixture
def classifier() -> models.Classifier:
    """A small CNN of three classes for images of 8 x 8 pixels."""
    torch.manual_seed(0)
    return models.build("cnn", SMALL_CNN, Preprocessing(MEAN, STD), 8, 3)
