"""How far LIME's picture of an image can be trusted: the same image explained again and again."""

from pathlib import Path

import numpy as np

from glassbox.explaining.lime_stability import Stability
from glassbox.explaining.selection import Pick
from glassbox.figures.maps import blend, normalise
from glassbox.figures.style import BLUE, GREY, ORANGE, RED, figure, literal

COLOURS, MARKS = (BLUE, ORANGE, RED, GREY), "os^Dv*P"  # 4 and 7: 28 pairs
PANELS = {
    "rank_agreement": "rank correlation\nbetween two seeds",
    "top_overlap": "strongest regions that\ntwo seeds share",
    "local_r2": "local R²",
}


def draw(path: str | Path, stability: Stability, picks: list[Pick], images: np.ndarray, regions: int) -> None:
    """Above, a row an image: two seeds at each number of samples. Below, agreement and local R² by number of samples.

    Args:
        stability: what was measured.
        picks: the images, in its order.
        images: (N, H, W, 3) uint8, the test split.
        regions: how many strongest regions are compared.
    """
    table, n = stability.table, len(picks)
    samples = list(dict.fromkeys(table["samples"]))
    columns, empty = 1 + 2 * len(samples), table["local_r2"].isna().any()
    with figure(path, 0.95 * columns + 0.4, 1.2 * n + 3.0) as drawing:
        above, below = drawing.subfigures(2, 1, height_ratios=[1.2 * n + 0.3, 2.7])
        grid = above.subplots(n, columns, squeeze=False)
        for row, pick in enumerate(picks):
            axes = grid[row]
            axes[0].imshow(images[pick.row], interpolation="nearest")
            axes[0].set_ylabel(f"image {pick.row}", fontsize=8)
            for place, count in enumerate(samples):
                for seed in range(2):
                    axis = axes[1 + 2 * place + seed]
                    axis.imshow(
                        blend(images[pick.row], normalise(stability.maps[row, place, seed])), interpolation="nearest"
                    )
                    if row == 0:
                        axis.set_title(f"{count}\nseed {'ab'[seed]}", fontsize=8)
            for axis in axes:
                axis.set_xticks([])
                axis.set_yticks([])
                axis.spines[:].set_visible(False)
        grid[0][0].set_title("number of\nsamples", fontsize=8)
        for axis, (name, label) in zip(below.subplots(1, len(PANELS)), PANELS.items(), strict=True):
            for place, (pick, (_, part)) in enumerate(zip(picks, table.groupby("image", sort=False), strict=True)):
                axis.plot(
                    part["samples"],
                    part[name],
                    color=COLOURS[place % 4],
                    marker=MARKS[place % 7],
                    markersize=4,
                    label=literal(f"image {pick.row}: {pick.note}{' (none)' if part['local_r2'].isna().all() else ''}"),
                )
            lowest = table[name].min()
            if name == "top_overlap":
                chance = table["top_overlap_by_chance"].mean()
                lowest = min(lowest, chance)
                axis.axhline(chance, color=GREY, linestyle=":", linewidth=1)
                axis.annotate(
                    "by chance",
                    (samples[-1], chance),
                    (0, 2),
                    textcoords="offset points",
                    ha="right",
                    fontsize=7,
                    color=GREY,
                )
            axis.set(xscale="log", xlabel="samples", ylabel=label, ylim=(min(0.5, lowest - 0.05), 1.03))
            axis.set_xticks(samples, [str(count) for count in samples])
            axis.minorticks_off()
            axis.grid(axis="y")
        handles, labels = axis.get_legend_handles_labels()
        below.legend(handles, labels, loc="outside lower center", ncols=min(n, 3), fontsize=8)
        above.suptitle(
            f"Stability of LIME: means over {table['seeds'].iloc[0]} seeds, {regions} strongest regions compared"
            + ("\n(none): near the image the class's probability does not vary" if empty else ""),
            fontsize=10,
        )
