"""Stability of LIME: maps of the same image with several seeds and numbers of samples, and their agreement."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure

from glassbox.explaining.lime_stability import Stability
from glassbox.explaining.selection import Pick
from glassbox.figures.maps import blend, normalise, outline
from glassbox.figures.style import BLUE, COLUMN, GREEN, GREY, ORANGE, RED, figure, literal

COLOURS, MARKS = (BLUE, ORANGE, RED, GREY), "os^Dv*P"  # 4 and 7: 28 pairs
PANELS = {
    "rank_agreement": "rank correlation\nbetween two seeds",
    "top_overlap": "strongest regions that\ntwo seeds share",
    "local_r2": "local R²",
}


def draw(
    path: str | Path,
    stability: Stability,
    picks: list[Pick],
    images: np.ndarray,
    regions: int,
    masks: np.ndarray | None = None,
) -> None:
    """Above, one row per image: the maps of two seeds for each number of samples. Below: agreement and local R² by
    number of samples. The picks are in the order of `stability`, the images (N, H, W, 3) uint8 are the test split, and
    `regions` is the number of strongest regions that are compared. The masks (N, H, W) of the evidence are outlined in
    the images and maps, if there are any."""
    table, n = stability.table, len(picks)
    samples = list(dict.fromkeys(table["samples"]))
    with figure(path, COLUMN, 1.2 * n + 3.0) as drawing:
        above, below = drawing.subfigures(2, 1, height_ratios=[1.2 * n + 0.3, 2.7])
        _maps(above, stability.maps, picks, images, samples, masks)
        undefined = "\n(none): near the image the class's probability does not vary"
        above.suptitle(
            f"Stability of LIME: means over {table['seeds'].iloc[0]} seeds, {regions} strongest regions compared"
            f"{undefined if table['local_r2'].isna().any() else ''}",
            fontsize=10,
        )
        by_image = [part for _, part in table.groupby("image", sort=False)]
        axes = below.subplots(1, len(PANELS))
        for axis, (name, label) in zip(axes, PANELS.items(), strict=True):
            for place, (pick, part) in enumerate(zip(picks, by_image, strict=True)):
                title = f"image {pick.row}: {pick.note}{' (none)' if part['local_r2'].isna().all() else ''}"
                look = {"color": COLOURS[place % 4], "marker": MARKS[place % 7], "markersize": 4}
                axis.plot(part["samples"], part[name], label=literal(title), **look)
            lowest = table[name].min()
            if name == "top_overlap":
                chance = table["top_overlap_by_chance"].mean()
                lowest = min(lowest, chance)
                _chance(axis, chance, samples[-1])
            axis.set(xscale="log", xlabel="samples", ylabel=label, ylim=(min(0.5, lowest - 0.05), 1.03))
            axis.set_xticks(samples, [str(count) for count in samples])
            axis.minorticks_off()
            axis.grid(axis="y")
        lines = axes[0].get_legend_handles_labels()
        below.legend(*lines, loc="outside lower center", ncols=min(n, 3), fontsize=8)


def _maps(
    drawing: SubFigure,
    maps: np.ndarray,
    picks: list[Pick],
    images: np.ndarray,
    samples: list[int],
    masks: np.ndarray | None,
) -> None:
    grid = drawing.subplots(len(picks), 1 + 2 * len(samples), squeeze=False)
    for axis in grid.flat:
        axis.set_xticks([])
        axis.set_yticks([])
        axis.spines[:].set_visible(False)
    grid[0, 0].set_title("number of\nsamples", fontsize=8)
    for axis, (count, seed) in zip(grid[0, 1:], [(count, seed) for count in samples for seed in "ab"], strict=True):
        axis.set_title(f"{count}\nseed {seed}", fontsize=8)
    for row, pick in enumerate(picks):
        image = images[pick.row]
        grid[row, 0].imshow(image, interpolation="nearest")
        grid[row, 0].set_ylabel(f"image {pick.row}", fontsize=8)
        first_two = maps[row, :, :2].reshape(-1, *image.shape[:2])  # of the seeds
        for axis, values in zip(grid[row, 1:], first_two, strict=True):
            axis.imshow(blend(image, normalise(values)), interpolation="nearest")
        for axis in grid[row] if masks is not None else ():
            outline(axis, masks[pick.row], GREEN)


def _chance(axis: Axes, chance: float, right: float) -> None:
    axis.axhline(chance, color=GREY, linestyle=":", linewidth=1)
    look = {"textcoords": "offset points", "ha": "right", "fontsize": 7, "color": GREY}
    axis.annotate("by chance", (right, chance), (0, 2), **look)
