"""From bytes on the device to a network's input: whole batches at a time, without worker processes."""

from functools import cache
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from glassbox.config.augment import Augment

GREY = 0.5  # of a square that is covered
Rows = slice | torch.Tensor  # some rows of a batch: a slice, or their numbers


def to_float(images: torch.Tensor, own: Rows | None = None) -> torch.Tensor:
    """(B, H, W, 3) uint8, or the rows `own` of it, to (B, 3, H, W) float32 in 0..1, in channels_last memory order."""
    if own is not None:
        images = images[own]
    return images.permute(0, 3, 1, 2).float().div_(255)


def resized(x: torch.Tensor, size: int, interpolation: str = "bilinear") -> torch.Tensor:
    """(B, C, H, W) float to (B, C, size, size), bilinear or bicubic, with antialiasing when it shrinks. Bicubic always
    has it, because PyTorch's is Pillow's only then."""
    antialias = size < x.shape[-1] or interpolation == "bicubic"
    return torch.nn.functional.interpolate(x, (size, size), mode=interpolation, antialias=antialias)


def resize(images: torch.Tensor, size: int) -> torch.Tensor:
    """`resized` for (B, H, W, 3) uint8: (B, size, size, 3) uint8."""
    return resized(images.permute(0, 3, 1, 2).float(), size).round_().to(torch.uint8).permute(0, 2, 3, 1)


def augment(
    images: torch.Tensor,
    how: "Augment",
    generator: torch.Generator,
    input_size: int | None = None,
    own: Rows | None = None,
    flipped: torch.Tensor | None = None,
) -> torch.Tensor:
    """Random flip, pad-and-crop, colour jitter and cutout, drawn anew for every image.

    Brightness, contrast and saturation are blends with black, with the image's mean grey and with its grey version,
    in that order, as torchvision's ColorJitter defines them; results are clipped to 0..1 once, at the end. Then a
    square is covered, whose centre is any pixel of the image (cutout, DeVries & Taylor 2017), with a middle grey.

    Args:
        images, generator: (B, H, W, 3) uint8, and a generator on their device.
        how: strengths; see params.yaml.
        input_size: side in pixels to which the classifier resizes. With `how.resize_first` that is done here, so that
            the crop's padding is in pixels of the network's input.
        own: the rows to return. Random numbers are drawn for all B, so that each row is the same as without `own`.
        flipped: (B,) bool, which images are mirrored, with `how.flip`; None draws them.

    Returns:
        (B, 3, H, W) float32 in 0..1, in channels_last memory order.
    """
    n, device = len(images), images.device
    own = slice(None) if own is None else own
    images = images[own]
    if how.resize_first and input_size is not None:
        images = resize(images, input_size)
    b, h, w, _ = images.shape
    if how.flip:
        flipped = torch.rand(n, generator=generator, device=device) < 0.5 if flipped is None else flipped
        flipped = flipped[own].view(-1, 1, 1, 1)
    if how.crop:
        images = _padded(images, how.crop, how.padding)
        top, left = torch.randint(0, 2 * how.crop + 1, (2, n, 1), generator=generator, device=device)[:, own]
        rows, columns = top + torch.arange(h, device=device), left + torch.arange(w, device=device)  # (B, H), (B, W)
        images = images[torch.arange(b, device=device)[:, None, None], rows[:, :, None], columns[:, None, :]]
    if how.flip:
        images = torch.where(flipped, images.flip(2), images)
    x = to_float(images)
    if how.brightness:
        x.mul_(_factors(n, how.brightness, generator, device)[own])
    if how.contrast:
        grey = (x.mean(dim=(2, 3)) @ _luma(device))[:, None, None, None]  # (B, 1, 1, 1)
        factors = _factors(n, how.contrast, generator, device)[own]
        x.mul_(factors).add_((1 - factors) * grey)
    if how.saturation:
        # The grey version in all three channels, which is faster than to broadcast one.
        grey = torch.nn.functional.conv2d(x, _luma(device).expand(3, 3)[:, :, None, None])  # (B, 3, H, W)
        x = grey.lerp_(x, _factors(n, how.saturation, generator, device)[own])
    if how.brightness or how.contrast or how.saturation:
        x.clamp_(0, 1)
    if how.cutout:
        centre = torch.randint(0, h, (2, n, 1), generator=generator, device=device)[:, own]
        place = (
            torch.arange(h, device=device) - centre + how.cutout // 2
        )  # (2, B, side), counted from the square's edge
        inside = (place >= 0) & (place < how.cutout)
        x.masked_fill_(inside[0, :, None, :, None] & inside[1, :, None, None, :], GREY)
    return x


def _padded(images: torch.Tensor, by: int, how: str) -> torch.Tensor:
    if how == "black":
        return torch.nn.functional.pad(images, (0, 0, by, by, by, by))
    for axis in (1, 2):  # PyTorch reflects no bytes
        side = images.shape[axis]
        place = torch.arange(-by, side + by, device=images.device).abs()
        images = images.index_select(axis, torch.minimum(place, 2 * (side - 1) - place))
    return images


def _factors(n: int, strength: float, generator: torch.Generator, device: torch.device) -> torch.Tensor:
    return 1 + strength * (2 * torch.rand(n, 1, 1, 1, generator=generator, device=device) - 1)


@cache
def _luma(device: torch.device) -> torch.Tensor:
    """Weights of red, green and blue in the luma of ITU-R BT.601, as torchvision and Pillow use it: (3,)."""
    return torch.tensor([0.299, 0.587, 0.114], device=device)
