import numpy as np
import pytest
import torch

from glassbox.config import Superpixels
from glassbox.errors import UserError
from glassbox.explainers.superpixels import Composition, segment


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


def test_too_few_are_refused():
    # Noise without a blur falls into splinters, which SLIC merges into one region.
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    with pytest.raises(UserError, match=r"explain.superpixels gives an image only \d regions, at least 8 are needed"):
        segment(noise, Superpixels(segments=50, compactness=10.0, sigma=0.0))


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
