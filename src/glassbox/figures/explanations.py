"""Explanations of one image side by side."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from skimage.segmentation import find_boundaries

from glassbox.explainers.catalog import CONTROL, TITLES
from glassbox.explaining.explanations import EMPTY, Explained
from glassbox.explaining.map_tables import figure_note, may_be_shown
from glassbox.explaining.selection import Pick, picture_of
from glassbox.figures.maps import AGAINST, FOR, blend, colour_bar, frame, normalise, outline, show_image, show_map
from glassbox.figures.style import BLUE, COLUMN, GREEN, GREY, RED, figure, heading, rows_of, short, wrapped

ACROSS = 5  # maps in a row


def explanation(
    path: str | Path,
    image: np.ndarray,
    title: str,
    classes: tuple[str, ...],
    probabilities: np.ndarray,
    truth: int | None,
    targets: tuple[int, ...],
    results: list[Explained],
    start: int,
    regions: int,
    mask: np.ndarray | None = None,
) -> None:
    """The figure of an image: the image (H, W, 3) uint8, the class probabilities (K,), and below them a row of maps, or
    more, for each target, an explained class. `start` is the map of the first target in each result; the others follow.
    Maps that may not be shown stay white; LIME's are drawn as outlines of its `regions` strongest regions for and
    against. The truth is None where it is not known. The mask (H, W) bool of the evidence is outlined, if there is
    one."""
    across = min(max(3, len(results)), ACROSS)
    lines = rows_of(len(results), across)  # of maps, for each target
    rows, side = len(targets) * lines, (COLUMN - 0.9) / across
    notes = [
        [wrapped(_note(result, start + row, classes).replace("\n", " "), side, size=7) for result in results]
        for row in range(len(targets))
    ]
    under = 0.14 * max((1 + note.count("\n") for row in notes for note in row), default=0)
    above, below = 2.1, rows * (side + under) + 0.4 * (rows if lines > 1 else 1)  # inches
    with figure(path, COLUMN, above + below) as drawing:
        heading(drawing, title)
        top, bottom = drawing.subfigures(2, 1, height_ratios=[above, below])
        picture, bars = top.subplots(1, 2, width_ratios=[1, 2])
        picture.set_title("image", fontsize=9)
        show_image(picture, image)
        if mask is not None:
            outline(picture, mask, GREEN)
        _bars(bars, classes, probabilities, truth)
        grid = bottom.add_gridspec(rows, across)
        panels = []
        for row, target in enumerate(targets):
            for column, result in enumerate(results):
                axis = bottom.add_subplot(grid[row * lines + column // across, column % across])
                panels.append(axis)
                _panel(axis, image, result, start + row, regions)
                if mask is not None:
                    outline(axis, mask, GREEN)
                axis.set_xlabel(notes[row][column], fontsize=7)
                if row == 0 or lines > 1:
                    axis.set_title(wrapped(TITLES[result.name], side, size=9), fontsize=9)
                if column % across == 0:
                    axis.set_ylabel(f"for {short(classes[target])}", fontsize=9, fontweight="bold")
        colour_bar(bottom, panels, "attribution, share of the map's largest", aspect=12 * rows)


def draw_all(
    folder: Path,
    picks: list[Pick],
    results: list[Explained],
    images: np.ndarray,
    probabilities: np.ndarray,
    labels: np.ndarray,
    classes: tuple[str, ...],
    regions: int,
    masks: np.ndarray | None = None,
) -> None:
    """One figure for every image that is to be drawn, named by `picture_of`; the control is left out. The images (R, H,
    W, 3) uint8 are those of the maps, one for each explained class of each pick; the probabilities (N, K), the labels
    (N,) and the masks (N, H, W) bool are those of the test split."""
    shown = [result for result in results if result.name != CONTROL]
    start = 0
    for pick in picks:
        if pick.drawn:
            explanation(
                folder / picture_of(pick.row),
                images[start],
                f"{pick.note}  (test image {pick.row}, {pick.group})",
                classes,
                probabilities[pick.row],
                int(labels[pick.row]),
                pick.targets,
                shown,
                start,
                regions,
                None if masks is None else masks[pick.row],
            )
        start += len(pick.targets)


def _panel(axis: Axes, image: np.ndarray, result: Explained, place: int, regions: int) -> None:
    if not may_be_shown(result.attribution, place):
        show_map(axis, image, None)
    elif result.name == "lime":
        frame(axis)
        _regions(axis, image, normalise(result.attribution.maps[place]), regions)
    else:
        show_map(axis, image, normalise(result.attribution.maps[place]))


def _note(result: Explained, place: int, classes: tuple[str, ...]) -> str:
    empty = result.attribution.details.get(EMPTY)
    return figure_note(result, place, "" if empty is None else short(classes[int(empty[place])], 12))


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
    """LIME's strongest regions: outlined and tinted red where they speak for the class, blue where against it. A region
    consists of neighbouring pixels of equal weight."""
    weights = np.unique(values[values != 0])
    strongest = np.concatenate([weights[weights > 0][-regions:], weights[weights < 0][:regions]])
    shown = np.where(np.isin(values, strongest), values, 0.0)
    # Outlines between pixels need a finer grid than the image has.
    factor = max(1, 192 // image.shape[0])
    fine = np.kron(shown, np.ones((factor, factor)))
    picture = np.kron(blend(image, shown * 0.55), np.ones((factor, factor, 1)))
    edges = find_boundaries(fine, mode="inner")
    picture[edges & (fine > 0)] = to_rgb(FOR)
    picture[edges & (fine < 0)] = to_rgb(AGAINST)
    axis.imshow(picture, interpolation="nearest", extent=(-0.5, image.shape[1] - 0.5, image.shape[0] - 0.5, -0.5))
