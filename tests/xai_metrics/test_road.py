import numpy as np
import pytest
import torch

from glassbox.xai_metrics import road as r


def test_one_missing_pixel_is_the_mean_of_its_neighbours():
    image = torch.arange(9.0).view(1, 1, 3, 3).expand(1, 3, 3, 3).clone()
    image[0, 1] = 0
    image[0, 1, 0, 1] = 1.0  # above: 1/6
    image[0, 2] = 0
    image[0, 2, 2, 2] = 1.0  # diagonal: 1/12
    missing = torch.zeros(1, 3, 3, dtype=torch.bool)
    missing[0, 1, 1] = True
    filled = r.impute(image, missing)
    assert filled[0, :, 1, 1].tolist() == pytest.approx([4.0, 1 / 6, 1 / 12], abs=1e-5)
    assert torch.equal(filled[:, :, 0], image[:, :, 0])


def test_at_the_border_those_that_are_there_share_the_weight():
    image = torch.zeros(1, 3, 2, 2)
    image[0, :, 0, 1] = 1.0
    missing = torch.zeros(1, 2, 2, dtype=torch.bool)
    missing[0, 0, 0] = True  # neighbours: 1/6 (1.0), 1/6 (0.0), 1/12 (0.0)
    assert r.impute(image, missing)[0, :, 0, 0].tolist() == pytest.approx([0.4] * 3, abs=1e-6)


def test_it_solves_the_equations_of_all_images_at_once():
    rng = np.random.default_rng(0)
    images, missing = (
        rng.uniform(size=(3, 3, 9, 7)),
        rng.uniform(size=(3, 9, 7)) < np.array([0.1, 0.6, 0.9])[:, None, None],
    )
    filled = r.impute(torch.from_numpy(images).float(), torch.from_numpy(missing)).numpy()
    for image, holes, found in zip(images, missing, filled, strict=True):
        matrix, right = np.eye(63), np.zeros((63, 3))
        for y, x in np.ndindex(9, 7):
            here, weights = y * 7 + x, {}
            if not holes[y, x]:
                right[here] = image[:, y, x]
                continue
            for dy in (-1, 0, 1):
                for dx in (-1, 0, 1):
                    if (dy or dx) and 0 <= y + dy < 9 and 0 <= x + dx < 7:
                        weights[(y + dy) * 7 + x + dx] = 1 / 6 if dy == 0 or dx == 0 else 1 / 12
            for place, weight in weights.items():
                matrix[here, place] = -weight / sum(weights.values())
        exact = np.linalg.solve(matrix, right)
        np.testing.assert_allclose(found.reshape(3, 63).T, exact, atol=1e-4)


def test_the_known_stay_and_an_unknown_image_is_black():
    images = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    none, all_of_it = torch.zeros(2, 4, 4, dtype=torch.bool), torch.ones(2, 4, 4, dtype=torch.bool)
    assert torch.equal(r.impute(images, none), images)
    assert not r.impute(images, all_of_it).any()


def test_by_hand(probability):
    # The right half is white, worth 0.8; the left half is black and worth nothing. Half of the pixels are removed: of
    # the right map those on the right, which are then filled from the black ones, so that the probability falls from
    # 0.8 to 0, or those on the left, which are worth nothing.
    image = torch.zeros(1, 4, 4, 3, dtype=torch.uint8)
    image[:, :, 2:] = 255
    weights = np.zeros((4, 4))
    weights[:, 2:] = 0.1
    right = np.tile([0.0, 0.0, 1.0, 1.0], (4, 1))[None]
    how = {"shares": (0.5,), "noise": 0.0, "batch_size": 8}
    good, bad = (
        r.road(probability(weights), image, torch.tensor([1]), maps, (0,), **how)[0].item() for maps in (right, -right)
    )
    assert good == pytest.approx(0.4, abs=1e-4)
    assert bad == pytest.approx(-0.4, abs=1e-4)


def test_the_noise_is_that_of_the_image(probability):
    image = torch.full((2, 4, 4, 3), 100, dtype=torch.uint8)
    maps = np.random.default_rng(0).normal(size=(2, 4, 4))
    model, how = probability(np.full((4, 4), 0.05)), {"shares": (0.3, 0.7), "noise": 0.1, "batch_size": 8}
    one, again, other = (
        r.road(model, image, torch.tensor([1, 1]), maps, seeds, **how).mean(axis=1)
        for seeds in ((1, 2), (1, 2), (1, 3))
    )
    assert one.tolist() == again.tolist()
    assert one[0] == other[0]
    assert one[1] != other[1]
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
