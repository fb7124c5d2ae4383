"""Where the object of an image probably is, when nobody has marked it."""

import numpy as np

FAINTEST = 0.5  # of the strongest pixel, in standard deviations: below it nothing stands out
SPREAD = 5.0  # least standard deviation of a border's colour, in CIELAB units: plain borders have almost none


def estimate(images: np.ndarray) -> np.ndarray:
    """A rough mask of the object: what stands out in colour from the borders, nearer the centre with more weight.

    An estimate by the two priors of Wei et al. 2012 (Geodesic Saliency Using Background Priors), that backgrounds reach
    the border and that photographers put objects in the middle; it is no annotation and errs on single images. Each
    pixel's strength is its distance in colour (Mahalanobis, CIELAB) from the nearest of the four borders, blurred and
    weighted by a wide Gaussian; Otsu's threshold (1979) parts object from background, and holes are filled.

    Args:
        images: (N, H, W, 3) uint8.

    Returns:
        (N, H, W) bool; nothing is marked in an image of one colour.
    """
    return np.stack([_estimate(image) for image in images])


def _estimate(image: np.ndarray) -> np.ndarray:
    from scipy.ndimage import binary_fill_holes, gaussian_filter
    from skimage.color import rgb2lab
    from skimage.filters import threshold_otsu

    height, width, _ = image.shape
    colours = rgb2lab(image)  # (H, W, 3)
    b = max(1, round(min(height, width) / 16))
    distances = []
    for border in (colours[:b], colours[-b:], colours[:, :b], colours[:, -b:]):
        pixels = border.reshape(-1, 3)
        inverse = np.linalg.inv(np.cov(pixels.T) + SPREAD**2 * np.eye(3))
        apart = colours - pixels.mean(axis=0)
        distances.append(np.sqrt(np.einsum("hwi,ij,hwj->hw", apart, inverse, apart)))
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    strength = gaussian_filter(np.min(distances, axis=0), min(height, width) / 32) * np.exp(-(x**2) - y**2)
    if strength.max() < FAINTEST:
        return np.zeros((height, width), bool)
    return binary_fill_holes(strength > threshold_otsu(strength))
