"""Explanations of one image side by side."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from skimage.segmentation import find_boundaries

from glassbox.explainers.catalog import CONTROL, TITLES
from glassbox.explaining.explanations import EMPTY, Explained
from glassbox.explaining.map_tables import figure_note, may_be_shown
from glassbox.explaining.selection import Pick
from glassbox.figures.maps import blend, colour_bar, frame, normalise
from glassbox.figures.style import BLUE, GREY, RED, figure, heading, short

FOR, AGAINST = "#b2182b", "#2166ac"  # the ends of the diverging scale


def explanation(
    path: str | Path,
    image: np.ndarray,
    title: str,
    classes: tuple[str, ...],
    probabilities: np.ndarray,
    truth: int | None,
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
        truth: the true class, None where nobody knows it.
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
                    axis.set_title(name.replace(" (", "\n("), fontsize=9)
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
    """One figure for every image that is to be drawn, named by its place among the picks, group and row in the test
    split; the control is left out.

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
        rows = slice(start, start := start + len(pick.targets))
        if not pick.drawn:
            continue
        explanation(
            folder / f"{place:0{digits}d}-{pick.group}-{pick.row}.png",
            images[rows.start],
            f"{pick.note}  (test image {pick.row}, {pick.group})",
            classes,
            probabilities[pick.row],
            int(labels[pick.row]),
            pick.targets,
            {TITLES[result.name]: sound(result, rows) for result in shown},
            {
                TITLES[result.name]: [note(result, row, classes) for row in range(rows.start, rows.stop)]
                for result in shown
            },
            regions,
        )


def note(result: Explained, row: int, classes: tuple[str, ...]) -> str:
    empty = result.attribution.details.get(EMPTY)
    return figure_note(result, row, "" if empty is None else short(classes[int(empty[row])], 12))


def sound(result: Explained, rows: slice) -> np.ndarray:
    """The maps of some rows; those that may not be shown are NaN."""
    maps = result.attribution.maps[rows].copy()
    for place, row in enumerate(range(rows.start, rows.stop)):
        if not may_be_shown(result.attribution, row):
            maps[place] = np.nan
    return maps


def _bars(axis: Axes, classes: tuple[str, ...], probabilities: np.ndarray, truth: int | None) -> None:
    """The (at most ten) most probable classes; the true one is marked."""
    shown = np.argsort(-probabilities, kind="stable")[:10]
    if truth is not None and truth not in shown:
        shown[-1] = truth
    shown = np.sort(shown)
    guess = int(probabilities.argmax())
    colours = [BLUE if label == truth else RED if label == guess else GREY for label in shown]
    places = np.arange(len(shown))[::-1]
    axis.barh(places, 100 * probabilities[shown], color=colours)
    marks = {guess: " (predicted)"} | ({} if truth is None else {truth: " (true)"})
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
