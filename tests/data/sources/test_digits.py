import numpy as np
from sklearn.datasets import load_digits

from glassbox.data.base import Asked
from glassbox.data.loading import load_source
from glassbox.data.sources import digits


def test_the_digits_are_scikit_learns_enlarged(params):
    images = load_source(Asked(params.data, seed=0))
    assert images.pixels.shape == (1797, 32, 32, 3)
    assert images.classes == tuple("0123456789")
    assert np.array_equal(images.labels, load_digits().target)
    assert (images.pixels[..., 0] == images.pixels[..., 2]).all()
    # The mean of 4x4 enlarged pixels is about the original pixel, 0..16 scaled to 0..255.
    means = images.pixels[:50, :, :, 0].reshape(50, 8, 4, 8, 4).mean(axis=(2, 4))
    assert np.corrcoef(means.ravel(), load_digits().images[:50].ravel())[0, 1] > 0.99
    assert np.array_equal(digits.load(8).pixels[0, :, :, 0], np.round(load_digits().images[0] * 255 / 16))
