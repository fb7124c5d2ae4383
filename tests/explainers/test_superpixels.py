import numpy as np
import pytest

from glassbox.config import Superpixels
from glassbox.errors import UserError
from glassbox.explainers.superpixels import segment


def test_regions_are_numbered_without_gaps_and_follow_edges():
    image = np.zeros((32, 32, 3), np.uint8)
    image[:, 16:] = 255
    labels = segment(image, Superpixels(segments=50, compactness=1.0, sigma=0.0))
    assert labels.shape == (32, 32)
    assert set(np.unique(labels)) == set(range(labels.max() + 1))
    assert not set(labels[:, :16].ravel()) & set(labels[:, 16:].ravel())


def test_the_shipped_setting_finds_enough_on_every_kind_of_image(params):
    from glassbox.data import digits

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
