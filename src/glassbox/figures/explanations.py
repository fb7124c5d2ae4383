"""Attribution maps on top of their image: the only place where maps are normalised and coloured."""

from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from skimage.segmentation import find_boundaries

from glassbox.explaining import Explained, figure_note, may_be_shown
from glassbox.figures.style import BLUE, DIVERGING, GREY, RED, figure, heading, short
from glassbox.names import CONTROL, TITLES
from glassbox.selection import Pick

FOR, AGAINST = "#b2182b", "#2166ac"  # the ends of the diverging scale
MINUS = "\N{MINUS SIGN}"


def normalise(values: np.ndarray) -> np.ndarray:
    """A map divided by its largest absolute value: -1..1 with 0 kept at 0. A map of zeros stays one."""
    largest = np.abs(values).max()
    return values / largest if largest > 0 else values


def blend(image: np.ndarray, values: np.ndarray) -> np.ndarray:
    """A map in red and blue over a faint grey version of its image, (H, W, 3) floats in 0..1.

    Args:
        image: (H, W, 3) uint8.
        values: (H, W) in -1..1. The stronger a pixel, the more its colour covers the image.
    """
    grey = image.astype(float).mean(axis=2) / 255
    span = grey.max() - grey.min()
    faint = 0.72 + 0.28 * ((grey - grey.min()) / span if span > 0 else np.ones_like(grey))
    cover = np.abs(values)[..., None] ** 0.6
    # The scale's own white centre would hide the image: cover by strength, colour by the scale's saturated part.
    colour = colormaps[DIVERGING](0.5 + 0.5 * np.sign(values) * (0.35 + 0.65 * np.abs(values)))[..., :3]
    return (1 - cover) * faint[..., None] + cover * colour


def frame(axis: Axes) -> None:
    """A thin box without ticks: where a map is pale, the eye still finds its edge."""
    axis.set_axis_on()
    axis.set_xticks([])
    axis.set_yticks([])
    axis.spines[:].set_visible(True)
    axis.spines[:].set_color("#d0d7de")


def colour_bar(
    drawing: Figure, axes: list[Axes], label: str, largest: float | None = None, aspect: float = 30, fontsize: float = 7
) -> None:
    """The scale of signed maps beside them.

    Args:
        drawing: of the maps.
        axes: the maps.
        label: what is shown, and in which unit.
        largest: value at the ends; None for maps that are each on a scale of their own, whose ends are words.
        aspect: of the bar, height by width.
        fontsize: of its ticks.
    """
    limit = largest or 1.0
    bar = drawing.colorbar(
        ScalarMappable(Normalize(-limit, limit), DIVERGING), ax=axes, pad=0.01, fraction=0.02, aspect=aspect,
        ticks=(-limit, 0, limit),
    )  # fmt: skip
    bar.set_ticklabels([f"{MINUS}{limit:.2g}", "0", f"{limit:.2g}"] if largest else ["against", "0", "for"])
    bar.set_label(label, fontsize=7)
    bar.ax.tick_params(labelsize=fontsize)


def explanation(
    path: str | Path,
    image: np.ndarray,
    title: str,
    classes: tuple[str, ...],
    probabilities: np.ndarray,
    truth: int,
    targets: tuple[int, ...],
    maps: dict[str, np.ndarray],
    notes: dict[str, list[str]],
    regions: int,
) -> None:
    """One figure an image: the image, the class probabilities, and a row of maps for each explained class.

    Args:
        image: (H, W, 3) uint8.
        title: why it was picked.
        classes: names.
        probabilities: (K,).
        truth: the true class.
        targets: explained classes.
        maps: for each explainer, by its title, (len(targets), H, W). LIME's is drawn as outlined regions. One that is
            not to be shown is all NaN.
        notes: for each explainer a short text for each target.
        regions: how many of LIME's regions for and against are outlined.
    """
    n, columns = len(targets), 2 + len(maps)
    with figure(path, 1.75 * columns + 0.5, 1.85 * n + 0.85) as drawing:
        heading(drawing, title)
        grid = drawing.add_gridspec(n, columns, width_ratios=[1, 1.25] + [1] * len(maps))
        picture = drawing.add_subplot(grid[:, 0])
        picture.imshow(image, interpolation="nearest")
        picture.set_title("image", fontsize=9)
        picture.set_axis_off()
        _bars(drawing.add_subplot(grid[:, 1]), classes, probabilities, truth)
        panels = []
        for row, target in enumerate(targets):
            for column, (name, values) in enumerate(maps.items()):
                axis = drawing.add_subplot(grid[row, 2 + column])
                panels.append(axis)
                frame(axis)
                scaled = normalise(values[row])
                if np.isnan(scaled).any():
                    axis.imshow(np.full_like(image, 255), interpolation="nearest")
                elif name == TITLES["lime"]:
                    _regions(axis, image, scaled, regions)
                else:
                    axis.imshow(blend(image, scaled), interpolation="nearest")
                if row == 0:
                    axis.set_title(name, fontsize=9)
                axis.set_xlabel(notes[name][row], fontsize=7)
                if column == 0:
                    axis.set_ylabel(f"for {short(classes[target])}", fontsize=9, fontweight="bold")
        colour_bar(drawing, panels, "attribution, share of the map's largest", aspect=12 * n, fontsize=9)


def draw_all(
    folder: Path,
    picks: list[Pick],
    results: list[Explained],
    images: np.ndarray,
    probabilities: np.ndarray,
    labels: np.ndarray,
    classes: tuple[str, ...],
    regions: int,
) -> None:
    """One figure for every picked image, named by its place, group and row in the test split; the control is left out.

    Args:
        folder: for the figures.
        picks: images and explained classes.
        results: of every explainer, one map a row of the request.
        images: (R, H, W, 3) uint8, one a row of the request.
        probabilities: (N, K) of the test images.
        labels: (N,) of the test images.
        classes: names.
        regions: how many of LIME's regions for and against are outlined.
    """
    shown = [result for result in results if result.name != CONTROL]
    start, digits = 0, max(2, len(str(len(picks) - 1)))  # so that names sort as the picks do
    for place, pick in enumerate(picks):
        rows = slice(start, start + len(pick.targets))
        explanation(
            folder / f"{place:0{digits}d}-{pick.group}-{pick.row}.png",
            images[start],
            f"{pick.note}  (test image {pick.row}, {pick.group})",
            classes,
            probabilities[pick.row],
            int(labels[pick.row]),
            pick.targets,
            {TITLES[result.name]: _sound(result, rows) for result in shown},
            {
                TITLES[result.name]: [figure_note(result, row) for row in range(rows.start, rows.stop)]
                for result in shown
            },
            regions,
        )
        start = rows.stop


def _sound(result: Explained, rows: slice) -> np.ndarray:
    """The maps of some rows; those that may not be shown are NaN."""
    maps = result.attribution.maps[rows].copy()
    for place, row in enumerate(range(rows.start, rows.stop)):
        if not may_be_shown(result.attribution, row):
            maps[place] = np.nan
    return maps


def _bars(axis: Axes, classes: tuple[str, ...], probabilities: np.ndarray, truth: int) -> None:
    """The (at most ten) most probable classes; the true one is marked."""
    shown = np.argsort(-probabilities, kind="stable")[:10]
    if truth not in shown:
        shown[-1] = truth
    shown = np.sort(shown)
    guess = int(probabilities.argmax())
    colours = [BLUE if label == truth else RED if label == guess else GREY for label in shown]
    places = np.arange(len(shown))[::-1]
    axis.barh(places, 100 * probabilities[shown], color=colours)
    marks = {guess: " (predicted)", truth: " (true)"} if guess != truth else {truth: " (true)"}
    axis.set_yticks(places, [f"{short(classes[label])}{marks.get(label, '')}" for label in shown], fontsize=6.5)
    axis.set(xlim=(0, 100))
    axis.set_xticks((0, 50, 100))
    axis.tick_params(axis="x", labelsize=6.5)
    axis.set_xlabel("probability (%)", fontsize=7)


def _regions(axis: Axes, image: np.ndarray, values: np.ndarray, regions: int) -> None:
    """LIME's strongest regions: outlined and tinted red where they speak for the class, blue where against it.

    Regions are recovered from the map: neighbouring pixels of equal weight.
    """
    weights = np.unique(values[values != 0])
    strongest = np.concatenate([np.sort(weights[weights > 0])[-regions:], np.sort(weights[weights < 0])[:regions]])
    shown = np.where(np.isin(values, strongest), values, 0.0)
    # Outlines between pixels need a finer grid than the image has.
    factor = max(1, 192 // image.shape[0])
    fine = np.kron(shown, np.ones((factor, factor)))
    picture = np.kron(blend(image, shown * 0.55), np.ones((factor, factor, 1)))
    picture[find_boundaries(fine, mode="inner") & (fine > 0)] = _rgb(FOR)
    picture[find_boundaries(fine, mode="inner") & (fine < 0)] = _rgb(AGAINST)
    axis.imshow(picture, interpolation="nearest", extent=(-0.5, image.shape[1] - 0.5, image.shape[0] - 0.5, -0.5))


def _rgb(colour: str) -> tuple[float, ...]:
    return tuple(int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5))
