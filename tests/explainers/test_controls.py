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


def test_noise_is_standard_normal_and_depends_on_seed_and_class_alone(linear):
    images = torch.zeros(4, 40, 40, 3, dtype=torch.uint8)
    images[3] = 255
    request, model = Request(images, torch.tensor([0, 1, 0, 0]), (1, 1, 2, 1)), linear(np.ones((40, 40)))
    first = c.Control(c.noise)(model, request)
    assert np.array_equal(first.maps[0], first.maps[3])  # the image does not matter
    assert not np.array_equal(first.maps[0], first.maps[1])
    assert not np.array_equal(first.maps[0], first.maps[2])
    assert abs(first.maps.mean()) < 0.05
    assert abs(first.maps.std() - 1) < 0.05
    assert first.forward_passes.tolist() == [0] * 4
    edges = c.Control(c.edges)(model, request)
    assert np.array_equal(edges.maps[0], edges.maps[2])
