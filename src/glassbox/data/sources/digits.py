"""scikit-learn's handwritten digits: 1,797 images that come with the package, so that a study runs offline."""

import numpy as np
from PIL import Image

from glassbox.data.base import Asked, Images


def source(asked: Asked) -> Images:
    """See `loading.load_source`."""
    return load(asked.data.image_size)


def load(image_size: int) -> Images:
    """The UCI test set of handwritten digits (Alpaydin & Kaynak, 1998): 8x8 pixels in 0..16, here scaled to 0..255,
    enlarged to `image_size` x `image_size` with bicubic interpolation and given three equal channels."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    small = np.round(digits.images * (255 / 16)).astype(np.uint8)  # (N, 8, 8)
    size = (image_size, image_size)
    large = np.stack([np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)) for image in small])
    return Images(
        pixels=np.repeat(large[..., None], 3, axis=3),
        labels=digits.target.astype(np.int64),
        classes=tuple(str(name) for name in digits.target_names),
    )
