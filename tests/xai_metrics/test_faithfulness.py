import numpy as np
import pytest
import torch

from glassbox.explainers.base import Request
from glassbox.xai_metrics import faithfulness as f

# A white image of four pixels; P(class 1) is the sum of the weights of the white ones.
WEIGHTS = np.array([[0.5, 0.3], [0.2, 0.0]])
WHITE = torch.full((1, 2, 2, 3), 255, dtype=torch.uint8)
BLACK = (0.0, 0.0, 0.0)
BEST = [[4.0, 3.0], [2.0, 1.0]]  # the pixels of the largest weights first


def test_ranks_are_places_from_the_highest_and_the_image_decides_between_equal_pixels():
    assert f.rank(np.array([[[3.0, 1.0], [2.0, 0.5]]]), (0,)).tolist() == [[[0, 2], [1, 3]]]
    ties = np.array([[[3.0, 1.0], [2.0, 1.0]]])
    drawn = [f.rank(ties, (seed,)).ravel().tolist() for seed in range(200)]
    assert {tuple(places) for places in drawn} == {(0, 2, 1, 3), (0, 3, 1, 2)}
    assert 70 < sum(places[1] == 2 for places in drawn) < 130  # half of the time
    flat = np.stack([f.rank(np.zeros((1, 4, 4)), (seed,)).ravel() for seed in range(400)])
    assert flat.mean(axis=0) == pytest.approx(np.full(16, 7.5), abs=1.2)  # no pixel is before another on average
    # Two maps of an image have the same order of equal pixels; other images have other orders.
    zeros, ones = f.rank(np.zeros((2, 4, 4)), (5, 6)), f.rank(np.ones((1, 4, 4)), (5,))
    assert np.array_equal(zeros[0], ones[0])
    assert not np.array_equal(zeros[0], zeros[1])


def test_a_map_of_one_value_scores_what_chance_does(probability):
    # All the weight is in the first row: in the order of the rows a constant map would name it at once.
    weights = np.zeros((6, 6))
    weights[0] = 1 / 6
    n = 300
    white = Request(torch.full((n, 6, 6, 3), 255, dtype=torch.uint8), torch.ones(n, dtype=torch.long), tuple(range(n)))
    for maps in (np.zeros((n, 6, 6)), np.random.default_rng(0).normal(size=(n, 6, 6))):
        areas = f.deletion_auc(probability(weights), white, maps, colour=BLACK, steps=6, batch_size=1000)
        assert areas.mean() == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize(
    ("order", "target", "colour", "expected"),
    [
        # Probabilities 1, 0.5, 0.2, 0, 0: half of the ends and the rest, each a quarter wide.
        (BEST, 1, 0.0, (0.5 + 0.5 + 0.2 + 0.0) / 4),
        # The worst order: 1, 1, 0.8, 0.5, 0.
        ([[1, 2], [3, 4]], 1, 0.0, (0.5 + 1.0 + 0.8 + 0.5) / 4),
        # The other class has what is left of 1.
        (BEST, 0, 0.0, 1 - (0.5 + 0.5 + 0.2 + 0.0) / 4),
        # Grey leaves half of each weight: 1, 0.75, 0.6, 0.5, 0.5.
        (BEST, 1, 0.5, (0.5 + 0.75 + 0.6 + 0.5 + 0.25) / 4),
    ],
)
def test_deletion_by_hand(probability, order, target, colour, expected):
    request, maps = Request(WHITE, torch.tensor([target]), (0,)), np.array([order], dtype=float)
    area = f.deletion_auc(probability(WEIGHTS), request, maps, colour=(colour,) * 3, steps=4, batch_size=3)
    assert area == pytest.approx([expected], abs=1e-6)


def test_insertion_by_hand(probability):
    # Left half white, right half black, blurred until it is grey everywhere (0.5): from there the image's own pixels
    # come back, white on the left (+0.5 of the weight) and black on the right (-0.5 of the weight).
    image = torch.zeros(1, 2, 2, 3, dtype=torch.uint8)
    image[:, :, 0] = 255
    left = np.array([[[4.0, 1.0], [3.0, 2.0]]])  # the two left pixels first
    request = Request(image, torch.tensor([1]), (0,))
    area = f.insertion_auc(probability(WEIGHTS), request, left, blur_sigma=50.0, steps=4, batch_size=8)
    # P: 0.5 at first (half of all weights), then + 0.25, + 0.1, - 0.0, - 0.15.
    assert area == pytest.approx([(0.25 + 0.75 + 0.85 + 0.85 + 0.35) / 4], abs=1e-3)


def test_uneven_steps_end_at_the_whole_image(probability):
    start, end = torch.ones(1, 3, 2, 2), torch.zeros(1, 3, 2, 2)
    places = np.array([[[0, 1], [2, 3]]])
    curve = f.curves(probability(WEIGHTS), start, end, torch.tensor([1]), places, steps=3, batch_size=2)
    assert curve == pytest.approx(np.array([[1.0, 0.5, 0.0, 0.0]]), abs=1e-6)  # 0, 1, 3 and 4 pixels replaced
    assert f.areas(curve) == pytest.approx([(0.5 + 0.5 + 0.0) / 3])


@pytest.mark.parametrize("batch_size", [1, 7, 1000])
def test_images_that_share_a_batch_keep_their_own_curves(probability, batch_size):
    model, g = probability(WEIGHTS), np.random.default_rng(0)
    start, end = (torch.from_numpy(g.random((3, 3, 2, 2), np.float32)) for _ in range(2))
    places = f.rank(g.random((3, 2, 2)), (0, 1, 2))
    targets = torch.tensor([1, 0, 1])
    together = f.curves(model, start, end, targets, places, steps=4, batch_size=batch_size)
    for i in range(3):
        alone = f.curves(model, *(x[[i]] for x in (start, end, targets, places)), steps=4, batch_size=8)
        assert together[[i]] == pytest.approx(alone, abs=1e-6)
    assert together[0, 0] == pytest.approx(float((start[0].mean(dim=0) * torch.from_numpy(WEIGHTS)).sum()), abs=1e-6)


def test_baselines_by_hand():
    x = torch.tensor([[0.0, 1.0], [1.0, 0.0]]).expand(1, 3, 2, 2).contiguous()
    mean, blurred, black = (f.replaced(x, by, (0.2, 0.4, 0.6), 50.0) for by in ("mean", "blur", "black"))
    assert mean[0, :, 0, 0].tolist() == pytest.approx([0.2, 0.4, 0.6])
    assert mean.shape == black.shape == x.shape
    assert blurred.numpy() == pytest.approx(0.5, abs=1e-3)
    assert not black.any()
