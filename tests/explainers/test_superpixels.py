import numpy as np
import pytest
import torch

from glassbox.config.explain import Superpixels, slic_regions
from glassbox.explainers.superpixels import Composition, _squares, on_squares, segment


def test_regions_are_numbered_without_gaps_and_follow_edges():
    image = np.zeros((32, 32, 3), np.uint8)
    image[:, 16:] = 255
    labels = segment(image, Superpixels(segments=50, compactness=1.0, sigma=0.0))
    assert labels.shape == (32, 32)
    assert set(np.unique(labels)) == set(range(labels.max() + 1))
    assert not set(labels[:, :16].ravel()) & set(labels[:, 16:].ravel())


def test_the_shipped_setting_finds_enough_on_every_kind_of_image(params):
    from glassbox.data.sources import digits

    rng = np.random.default_rng(0)
    for image in [
        *digits.load(32).pixels[:10],
        rng.integers(0, 256, (32, 32, 3), dtype=np.uint8),
        np.zeros((32, 32, 3), np.uint8),
    ]:
        assert segment(image, params.explain.superpixels).max() + 1 >= 15


@pytest.mark.parametrize(
    ("side", "segments", "squares"),
    [(32, 50, 49), (64, 8, 9), (11, 32, 25)],  # splinters that are merged into one region, or are too many
)
def test_an_image_without_usable_regions_falls_back_to_squares(side, segments, squares):
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    how = Superpixels(segments=segments, compactness=10.0, sigma=0.0)
    labels = segment(noise, how)
    assert set(np.unique(labels)) == set(range(squares))
    assert 8 <= squares <= 1.5 * segments  # for which Shapley values have coalitions: three a segment
    assert on_squares([noise, np.zeros((side, side, 3), np.uint8)], how) == [True, False]


def test_squares_are_as_equal_as_whole_pixels_allow():
    labels = _squares(10, 10, 50)
    assert labels.max() + 1 == 49
    assert set(np.bincount(labels.ravel())) == {1, 2, 4}
    assert labels[0].tolist() == [0, 0, 1, 2, 2, 3, 4, 4, 5, 6]
    assert labels[:, 0].tolist() == [7 * row for row in labels[0]]


@pytest.mark.parametrize("side", [8, 11, 16, 21, 32, 50])
def test_the_grid_that_slic_begins_with_is_known_beforehand(side):
    from skimage.util import regular_grid

    for segments in range(8, side * side + 1, 3):
        planes = np.zeros((1, side, side))[regular_grid((1, side, side), segments)]
        assert slic_regions(segments, side) == planes.size


def test_a_composition_shows_each_region_as_its_mask_says_to_the_last_bit():
    g = torch.Generator().manual_seed(0)
    image, other = torch.randint(0, 256, (2, 60, 70, 3), dtype=torch.uint8, generator=g)
    image[0], other[0], image[1], other[1] = 255, 0, 0, 255
    segments = np.random.default_rng(0).integers(0, 5, (60, 70))
    masks = torch.rand(9, 5, generator=g) < 0.5
    made = Composition(segments, image, other, torch.device("cpu"))(masks)
    shown = masks[:, torch.from_numpy(segments)][..., None]  # (9, 60, 70, 1)
    expected = torch.where(shown, image, other).permute(0, 3, 1, 2).float() / 255
    assert torch.equal(made, expected)
    assert made.is_contiguous(memory_format=torch.channels_last)
