import numpy as np
import torch

from glassbox.config.augment import Augment
from glassbox.data.store import Split
from glassbox.evaluation.evaluate import augmented_accuracy

OFF = {"flip": False, "crop": 0, "brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "resize_first": False,
       "validation_and_test": True}  # fmt: skip


def test_half_of_lopsided_images_are_mistaken_when_mirrored(linear):
    # Class 1 where the left is brighter than the right: true of every image here, until it is mirrored.
    left_or_right = linear(np.tile([1.0, 1.0, -1.0, -1.0], (4, 1)))
    images = torch.zeros(400, 4, 4, 3, dtype=torch.uint8)
    images[:, :, :2] = 200
    test = Split(images, torch.ones(400, dtype=torch.int64), None, torch.arange(400), None)
    seen = []
    assert augmented_accuracy(left_or_right, test, Augment(**OFF), 0, 64, seen.append) == 1
    assert sum(seen) == 400
    mirrored = Augment(**OFF | {"flip": True})
    share = augmented_accuracy(left_or_right, test, mirrored, 0, 64)
    assert 0.4 < share < 0.6
    assert augmented_accuracy(left_or_right, test, mirrored, 0, 64) == share
    assert len({augmented_accuracy(left_or_right, test, mirrored, seed, 64) for seed in range(5)}) > 1
    assert left_or_right.training
