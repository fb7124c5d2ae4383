import numpy as np
import pytest
import torch

from glassbox.explainers import controls as c
from glassbox.explainers.base import Request
from glassbox.explainers.superpixels import segment

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (32, 32, 3), dtype=np.uint8)


def test_edges_are_where_brightness_changes():
    image = np.zeros((6, 6, 3), np.uint8)
    image[:, 3:] = 255
    made = c.edges(image, [0, 0])
    assert (made[:, [0, 1, 4, 5]] == 0).all()
    assert np.allclose(made[:, 2:4], 2**-0.5)  # a step of 1 in one of two directions


def test_brightness_by_hand():
    image = np.array([[[255, 0, 0], [255, 255, 255]]], np.uint8)
    assert c.brightness(image, [0, 0]) == pytest.approx(np.array([[1 / 3, 1.0]]))


def test_the_gaussian_stands_in_the_middle():
    made = c.centre(np.zeros((9, 5, 3), np.uint8), [0, 0])
    assert made[4, 2] == made.max() == 1
    assert np.array_equal(made, made[::-1, ::-1])
    assert made[4 + 2, 2] == pytest.approx(np.exp(-((2 / 2.25) ** 2) / 2))


def test_random_maps_are_as_smooth_as_they_say(params):
    def roughness(values: np.ndarray) -> float:
        return float(np.abs(np.diff(values, axis=1)).mean() / values.std())

    rough, smooth, regions = (
        draw(IMAGE, [0, 0]) for draw in (c.noise, c.smooth_noise(3.0), c.region_noise(params.explain.superpixels))
    )
    assert roughness(rough) == pytest.approx(2 / np.pi**0.5, abs=0.1)  # of two independent normal values
    assert roughness(smooth) < 0.4
    segments = segment(IMAGE, params.explain.superpixels)
    assert all(np.ptp(regions[segments == label]) == 0 for label in range(segments.max() + 1))
    assert len(np.unique(regions)) == segments.max() + 1


def test_they_follow_the_seed_and_the_class_and_ask_no_model(linear):
    images = torch.from_numpy(np.stack([IMAGE] * 3))
    asked = Request(images, torch.tensor([0, 1, 0]), (5, 5, 6))
    made = c.Control(c.noise)(linear(np.ones((32, 32))), asked)
    assert made.maps.dtype == np.float32
    assert made.forward_passes.tolist() == [0, 0, 0]
    assert len({values.tobytes() for values in made.maps}) == 3
    assert np.array_equal(made.maps, c.Control(c.noise)(linear(np.ones((32, 32))), asked).maps)
    still = c.Control(c.edges)(linear(np.ones((32, 32))), asked)
    assert np.array_equal(still.maps[0], still.maps[2])


def test_a_standard_normal_map_that_knows_only_its_seed(linear):
    images = torch.zeros(4, 40, 40, 3, dtype=torch.uint8)
    images[3] = 255
    made = c.Control(c.noise)(linear(np.ones((40, 40))), Request(images, torch.tensor([0, 1, 0, 0]), (1, 1, 2, 1)))
    assert np.array_equal(made.maps[0], made.maps[3])  # the image does not matter
    assert not np.array_equal(made.maps[0], made.maps[1])
    assert not np.array_equal(made.maps[0], made.maps[2])
    assert abs(made.maps.mean()) < 0.05
    assert abs(made.maps.std() - 1) < 0.05
    assert made.forward_passes.tolist() == [0] * 4
