"""What happens to images between 0..1 and the network, inside the classifier."""

from dataclasses import dataclass
from typing import Literal

import torch

from glassbox.data.batches import resized

Colours = tuple[float, ...]  # one number for each channel, on the scale 0..1

# Mean and standard deviation that nearly all networks of torchvision's weights were trained with.
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
FIXED = {"imagenet": IMAGENET, "half": ((0.5,) * 3, (0.5,) * 3), "none": ((0.0,) * 3, (1.0,) * 3)}


@dataclass(frozen=True)
class Preprocessing:
    """Normalisation of colours, then a change of size.

    Attributes:
        mean, std: subtracted, and divided by.
        input_size: side of the network's input, pixels; None takes images as they are.
        interpolation: of the change of size, with antialiasing as Pillow has it.
        crop: share of the side that is kept, from the centre, after a change to 1 / crop of `input_size`.
    """

    mean: Colours = (0.0, 0.0, 0.0)
    std: Colours = (1.0, 1.0, 1.0)
    input_size: int | None = None
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    crop: float = 1.0

    @property
    def enlarged(self) -> int | None:
        """Side of the image from whose centre `input_size` is cut out; rounded down, as timm and torchvision do."""
        return None if self.input_size is None else int(self.input_size / self.crop + 1e-6)

    def resized(self, x: torch.Tensor) -> torch.Tensor:
        """Images (N, 3, H, H) float in the network's size."""
        side = x.shape[-1]
        if self.input_size is None or (self.crop == 1 and side == self.input_size):
            return x
        size = self.enlarged
        if size != side:
            x = resized(x, size, self.interpolation)
        start = round((size - self.input_size) / 2)
        return x[..., start : start + self.input_size, start : start + self.input_size]

    def in_words(self) -> str:
        """Like "224 x 224 pixels, bicubic, the central 88 %, mean (0.5, 0.5, 0.5), std (0.5, 0.5, 0.5)"."""
        size = f"{self.input_size} x {self.input_size} pixels, {self.interpolation}, " if self.input_size else ""
        crop = f"the central {100 * self.crop:.1f} %, " if self.crop < 1 else ""
        return f"{size}{crop}mean {listed(self.mean)} and std {listed(self.std)}"


def listed(colours: Colours) -> str:
    """Numbers for a sentence."""
    return f"({', '.join(f'{value:.3g}' for value in colours)})"
