import numpy as np
import pytest
import torch

from glassbox.explainers.base import Request
from glassbox.xai_metrics import road as r


def test_a_missing_pixel_is_the_mean_of_the_neighbours_that_exist():
    image = torch.arange(9.0).view(1, 1, 3, 3).expand(1, 3, 3, 3).clone()
    image[0, 1:] = 0
    image[0, 1, 0, 1] = 1.0  # above: 1/6
    image[0, 2, 2, 2] = 1.0  # diagonal: 1/12
    missing = torch.zeros(1, 3, 3, dtype=torch.bool)
    missing[0, 1, 1] = True
    filled = r.impute(image, missing)
    assert filled[0, :, 1, 1].tolist() == pytest.approx([4.0, 1 / 6, 1 / 12], abs=1e-5)
    assert torch.equal(filled[:, :, 0], image[:, :, 0])
    corner = torch.tensor([[[True, False], [False, False]]])  # neighbours: 1/6 (1.0), 1/6 (0.0), 1/12 (0.0)
    image = torch.tensor([[0.0, 1.0], [0.0, 0.0]]).expand(1, 3, 2, 2)
    assert r.impute(image, corner)[0, :, 0, 0].tolist() == pytest.approx([0.4] * 3, abs=1e-6)


def solved(image: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """The image (3, H, W) after a dense solution of the equations of `impute`."""
    h, w = missing.shape
    matrix, right = np.eye(h * w), np.zeros((h * w, 3))
    for y, x in np.ndindex(h, w):
        if not missing[y, x]:
            right[y * w + x] = image[:, y, x]
            continue
        window = [(i, j) for i in (y - 1, y, y + 1) for j in (x - 1, x, x + 1) if 0 <= i < h and 0 <= j < w]
        weights = {(i, j): 1 / 6 if i == y or j == x else 1 / 12 for i, j in window if (i, j) != (y, x)}
        for (i, j), weight in weights.items():
            matrix[y * w + x, i * w + j] = -weight / sum(weights.values())
    return np.linalg.solve(matrix, right).T.reshape(3, h, w)


def test_the_equations_of_all_images_are_solved_together():
    rng = np.random.default_rng(0)
    images = rng.uniform(size=(3, 3, 9, 7))
    missing = rng.uniform(size=(3, 9, 7)) < np.array([0.1, 0.6, 0.9])[:, None, None]
    filled = r.impute(torch.from_numpy(images).float(), torch.from_numpy(missing)).numpy()
    np.testing.assert_allclose(filled, np.stack([*map(solved, images, missing)]), atol=1e-4)
    none = torch.zeros(3, 9, 7, dtype=torch.bool)
    known = torch.from_numpy(images)
    assert torch.equal(r.impute(known, none), known)
    assert not r.impute(known, ~none).any()  # an image without a known pixel becomes black


def test_road_by_hand(probability):
    # The right half is white, worth 0.8; the left half is black and worth nothing. Half of the pixels are removed: of
    # the right map those on the right, which are then filled from the black ones, so that the probability falls from
    # 0.8 to 0, or those on the left, which are worth nothing.
    image, weights = torch.zeros(1, 4, 4, 3, dtype=torch.uint8), np.zeros((4, 4))
    image[:, :, 2:], weights[:, 2:] = 255, 0.1
    right = np.tile([0.0, 0.0, 1.0, 1.0], (4, 1))[None]
    how = {"shares": (0.5,), "noise": 0.0, "batch_size": 8}
    for maps, expected in ((right, 0.4), (-right, -0.4)):
        score = r.road(probability(weights), Request(image, torch.tensor([1]), (0,)), maps, **how)
        assert score.item() == pytest.approx(expected, abs=1e-4)


def test_the_noise_is_that_of_the_image(probability):
    image = torch.full((2, 4, 4, 3), 100, dtype=torch.uint8)
    maps = np.random.default_rng(0).normal(size=(2, 4, 4))
    model, how = probability(np.full((4, 4), 0.05)), {"shares": (0.3, 0.7), "noise": 0.1, "batch_size": 8}
    first, again, other = (
        r.road(model, Request(image, torch.tensor([1, 1]), seeds), maps, **how).mean(axis=1)
        for seeds in ((1, 2), (1, 2), (1, 3))
    )
    assert first.tolist() == again.tolist()
    assert first[0] == other[0]
    assert first[1] != other[1]
    assert model.training


def test_grey_images_are_solved_once_and_stay_grey():
    generator = torch.Generator().manual_seed(1)
    grey = torch.rand(2, 1, 6, 6, generator=generator).expand(2, 3, 6, 6)
    missing = torch.rand(2, 6, 6, generator=generator) < 0.5
    tinted = grey.clone()
    tinted[:, 2] = 0
    filled = r.impute(grey, missing)
    assert torch.equal(filled[:, 0], filled[:, 2])
    torch.testing.assert_close(filled[:, :2], r.impute(tinted, missing)[:, :2], atol=1e-5, rtol=0)
