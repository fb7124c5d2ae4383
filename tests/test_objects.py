import numpy as np

from glassbox import objects


def overlap(mask: np.ndarray, truth: np.ndarray) -> float:
    return (mask & truth).sum() / (mask | truth).sum()


def test_a_disc_on_a_noisy_background_is_found():
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:32, :32]
    disc = (y - 17) ** 2 + (x - 14) ** 2 < 64
    image = np.clip(rng.normal((90, 140, 80), 12, (32, 32, 3)), 0, 255)
    image[disc] = rng.normal((190, 90, 60), 12, (disc.sum(), 3)).clip(0, 255)
    assert overlap(objects.estimate(image[None].astype(np.uint8))[0], disc) > 0.85


def test_a_ring_is_filled():
    y, x = np.mgrid[:48, :48]
    far = np.hypot(y - 24, x - 24)
    image = np.where(((far > 9) & (far < 14))[..., None], 255, 0).astype(np.uint8).repeat(3, axis=2)
    assert overlap(objects.estimate(image[None])[0], far < 14) > 0.85


def test_an_object_that_touches_one_border_is_found():
    image = np.full((32, 32, 3), 200, np.uint8)
    tower = np.zeros((32, 32), bool)
    tower[8:, 12:21] = True
    image[tower] = (150, 30, 30)
    assert overlap(objects.estimate(image[None])[0], tower) > 0.7


def test_in_an_image_of_one_colour_there_is_none():
    colours = np.random.default_rng(0).integers(0, 256, (60, 1, 1, 3), dtype=np.uint8)
    for side in (8, 32, 64):
        masks = objects.estimate(np.broadcast_to(colours, (60, side, side, 3)))
        assert masks.shape == (60, side, side)
        assert not masks.any()
