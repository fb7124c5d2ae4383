"""Attribution maps drawn over their image. Maps are normalised and coloured only here."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize, to_rgb
from matplotlib.figure import Figure

from glassbox.core.text import MINUS

FOR, AGAINST = "#ff2d23", "#1e6eff"  # seen on black and on white, and different to any colour vision
LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, as in Pillow's conversion to grey


def normalise(values: np.ndarray) -> np.ndarray:
    """A map divided by its largest absolute value: -1..1, with 0 at 0. A map of zeros stays as it is."""
    largest = np.abs(values).max()
    return values / largest if largest > 0 else values


def blend(image: np.ndarray, values: np.ndarray) -> np.ndarray:
    """A map (H, W) in -1..1 in red and blue over its image (H, W, 3) uint8 in grey, as (H, W, 3) floats in 0..1. The
    stronger a pixel, the more its colour covers the image; where the map is zero, the image stays as it is."""
    grey = (image.astype(float) @ LUMA / 255)[..., None]
    cover = np.abs(values)[..., None] ** 0.6  # so that a tenth of the strongest can still be seen
    colour = np.where(values[..., None] > 0, to_rgb(FOR), to_rgb(AGAINST))
    return ((1 - cover) * grey + cover * colour).clip(0, 1)  # rounding errors may exceed it


def scale_of(limit: float) -> ScalarMappable:
    """The colours of `blend` over a grey image, from -limit to limit."""
    grey = np.full((1, 256, 3), 128, dtype=np.uint8)
    return ScalarMappable(Normalize(-limit, limit), ListedColormap(blend(grey, np.linspace(-1, 1, 256)[None])[0]))


def show_image(axis: Axes, image: np.ndarray) -> None:
    """An image without a frame."""
    axis.imshow(image, interpolation="nearest")
    axis.set_axis_off()


def show_map(axis: Axes, image: np.ndarray, values: np.ndarray | None) -> None:
    """A map over its image, see `blend`, with a frame; None leaves it white."""
    frame(axis)
    axis.imshow(np.full_like(image, 255) if values is None else blend(image, values), interpolation="nearest")


def outline(axis: Axes, mask: np.ndarray, colour: str) -> None:
    """The outline of a mask (H, W) bool."""
    if mask.any() and not mask.all():
        axis.contour(mask.astype(float), levels=[0.5], colors=[colour], linewidths=1.0)


def frame(axis: Axes) -> None:
    """A thin box without ticks, which shows the edge of a pale map."""
    axis.set_axis_on()
    axis.set_xticks([])
    axis.set_yticks([])
    axis.spines[:].set_visible(True)
    axis.spines[:].set_color("#d0d7de")


def colour_bar(
    drawing: Figure,
    axes: list[Axes],
    label: str,
    largest: float | None = None,
    aspect: float = 30,
    pad: float = 0.01,
) -> None:
    """The scale of signed maps beside them, with the shown quantity and its unit. At its ends is the largest value, or
    words where each map has its own scale (None). `aspect` is its height by its width, `pad` the gap
    before it, a share of the axes."""
    limit = largest or 1.0
    bar = drawing.colorbar(scale_of(limit), ax=axes, pad=pad, fraction=0.02, aspect=aspect, ticks=(-limit, 0, limit))
    bar.set_ticklabels([f"{MINUS}{limit:.2g}", "0", f"{limit:.2g}"] if largest else ["against", "0", "for"])
    bar.set_label(label, fontsize=7)
    bar.ax.tick_params(labelsize=7)
