"""Attribution maps drawn over their image. Maps are normalised and coloured only here."""

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from glassbox.core.text import MINUS
from glassbox.figures.style import DIVERGING


def normalise(values: np.ndarray) -> np.ndarray:
    """A map divided by its largest absolute value: -1..1, with 0 at 0. A map of zeros stays as it is."""
    largest = np.abs(values).max()
    return values / largest if largest > 0 else values


def blend(image: np.ndarray, values: np.ndarray) -> np.ndarray:
    """A map (H, W) in -1..1 in red and blue over a faint grey version of its image (H, W, 3) uint8, as (H, W, 3) floats
    in 0..1. The stronger a pixel, the more its colour covers the image."""
    grey = image.astype(float).mean(axis=2) / 255
    span = grey.max() - grey.min()
    faint = 0.72 + 0.28 * ((grey - grey.min()) / span if span > 0 else np.ones_like(grey))
    cover = np.abs(values)[..., None] ** 0.6
    # The white centre of the scale would hide the image: strength sets the cover, the saturated part the colour.
    colour = colormaps[DIVERGING](0.5 + 0.5 * np.sign(values) * (0.35 + 0.65 * np.abs(values)))[..., :3]
    mixed = (1 - cover) * faint[..., None] + cover * colour
    return mixed.clip(0, 1)  # rounding errors may exceed it


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
    fontsize: float = 7,
    pad: float = 0.01,
) -> None:
    """The scale of signed maps beside them, with the shown quantity and its unit. At its ends is the largest value, or
    words where each map has its own scale (None). `aspect` is its height by its width, `fontsize` that of its ticks,
    `pad` the gap before it, a share of the axes."""
    limit = largest or 1.0
    colours, ticks = ScalarMappable(Normalize(-limit, limit), DIVERGING), (-limit, 0, limit)
    bar = drawing.colorbar(colours, ax=axes, pad=pad, fraction=0.02, aspect=aspect, ticks=ticks)
    bar.set_ticklabels([f"{MINUS}{limit:.2g}", "0", f"{limit:.2g}"] if largest else ["against", "0", "for"])
    bar.set_label(label, fontsize=7)
    bar.ax.tick_params(labelsize=fontsize)
