"""Pictures of the three analyses, and panels of Shapley values for many classes."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from glassbox.config.explain import Explain
from glassbox.core.text import MINUS
from glassbox.explainers.base import Attribution
from glassbox.explainers.captions import equation
from glassbox.explainers.catalog import TITLES, analyst
from glassbox.explaining.analyses import Analyses, maps_of_each
from glassbox.explaining.explanations import EMPTY, PANELS, Explained
from glassbox.explaining.map_tables import may_be_shown, panels_of
from glassbox.explaining.selection import Cases
from glassbox.figures.maps import blend, colour_bar, frame, normalise
from glassbox.figures.style import figure, heading, short
from glassbox.xai_metrics.localization import area, relevance_mass

ACROSS = 5  # panels in a row
MOST, COMPARED = 10, 6  # images in a figure, and in one of two classes' maps; the tables hold them all


def panels(
    path: str | Path, image: np.ndarray, title: str, names: list[str], maps: list[np.ndarray | None], notes: list[str]
) -> None:
    """An image and its Shapley values for several classes, in the manner of `shap.image_plot`: red speaks for the
    class, blue against it, on one scale for all classes.

    Args:
        image: (H, W, 3) uint8.
        title: of the figure.
        names: of the classes, one a panel.
        maps: (H, W) each, in probability; None draws an empty panel.
        notes: a line under each panel.
    """
    rows = -(-len(names) // ACROSS)
    columns = min(ACROSS, len(names))
    scale = max((np.abs(values).max() for values in maps if values is not None), default=0.0) or 1.0
    with figure(path, 1.55 * (columns + 1) + 0.7, 1.95 * rows + 0.5) as drawing:
        heading(drawing, title)
        grid = drawing.add_gridspec(rows, columns + 1)
        picture = drawing.add_subplot(grid[:, 0])
        _picture(picture, image)
        picture.set_title("image", fontsize=9)
        axes = []
        for place, (name, values, note) in enumerate(zip(names, maps, notes, strict=True)):
            axis = drawing.add_subplot(grid[place // columns, 1 + place % columns])
            _map(axis, image, None if values is None else values / scale)
            axis.set_title(short(name), fontsize=9)
            axis.set_xlabel(note, fontsize=7)
            axes.append(axis)
        colour_bar(drawing, axes, "SHAP value of the region (probability)", scale)


def recognised(
    path: str | Path, images: np.ndarray, masks: np.ndarray | None, names: list[str], maps: np.ndarray, title: str
) -> None:
    """Recognised images above the maps of their classes; where the source has true masks, these are outlined.

    Args:
        images: (N, H, W, 3) uint8.
        masks: (N, H, W) bool, or None where the source has none.
        names: of their classes.
        maps: (N, H, W) of these classes.
        title: of the explainer.
    """
    n = len(images)
    columns = min(n, ACROSS)
    rows = -(-n // columns)
    with figure(path, 1.6 * columns + 0.7, 3.6 * rows + 0.5) as drawing:
        heading(drawing, f"Recognised images and {title}'s maps of their classes")
        axes = drawing.subplots(2 * rows, columns, squeeze=False)
        for axis in axes.flat:
            axis.set_axis_off()
        for place in range(n):
            above, below = axes[2 * (place // columns) : 2 * (place // columns) + 2, place % columns]
            _picture(above, images[place])
            above.set_title(short(names[place]), fontsize=9)
            _map(below, images[place], normalise(maps[place]))
            if masks is not None and masks[place].any():
                _outline(above, masks[place], "#ffffff")
                _outline(below, masks[place], "#1f2328")
                one = slice(place, place + 1)
                inside, share = relevance_mass(maps[one], masks[one])[0], area(masks[one])[0]
                said = f"{100 * inside:.0f} % of the positive mass in\n{100 * share:.0f} % of the pixels"
                below.set_xlabel(said, fontsize=7)
        colour_bar(drawing, list(axes.flat), "share of the map's largest")


def compare(
    path: str | Path,
    title: str,
    rows: list[tuple[np.ndarray, str, np.ndarray, np.ndarray, np.ndarray | None, tuple[str, str], str]],
    unit: str,
) -> None:
    """Two classes' maps of each image and their difference, on one scale for the image.

    Args:
        title: of the figure.
        rows: for each image: itself, (H, W, 3) uint8; what it is, as matplotlib takes it; the maps of the first and of
            the second class; a mask to outline in the difference, or None; the two classes' names; what is said under
            the difference.
        unit: of the maps.
    """
    with figure(path, 6.8, 1.9 * len(rows) + 0.6) as drawing:
        drawing.get_layout_engine().set(h_pad=0.08)  # inches: words of two lines stay inside
        heading(drawing, title)
        axes = drawing.subplots(len(rows), 4, squeeze=False)
        for line, (image, what, one, other, mask, (first, second), note) in zip(axes, rows, strict=True):
            scale = max(np.abs(one).max(), np.abs(other).max(), np.abs(one - other).max()) or 1.0
            _picture(line[0], image)
            line[0].set_title(what, fontsize=8)
            for axis, values, name in (
                (line[1], one, f"for {short(first)}"),
                (line[2], other, f"for {short(second)}"),
                (line[3], one - other, f"{short(first)} {MINUS} {short(second)}"),
            ):
                _map(axis, image, values / scale)
                axis.set_title(name, fontsize=8)
            if mask is not None:
                _outline(line[3], mask, "#1f2328")
            line[3].set_xlabel(note, fontsize=7)
        colour_bar(drawing, list(axes[:, 1:].flat), f"{unit}, share of the row's largest")


def draw_all(folder: Path, cases: Cases, results: list[Explained], found: Analyses, settings: Explain) -> None:
    """All pictures of the picks that are to be drawn: `recognised.png`, `mistakes.png`, `pair-01.png` and on, and
    `panels/` with one an image. What there is nothing to show for is not drawn, nor are maps whose Shapley values do
    not add up.

    Args:
        folder: for the figures.
        cases: images and explained classes.
        results: of every explainer.
        found: the analyses.
        settings: the section `explain`.
    """
    name = analyst(settings.explainers)
    title, unit = TITLES[name], "probability" if name in ("kernel_shap", "lime") else "attribution"
    picks, classes, labels, guesses = cases.picks, cases.classes, cases.labels, cases.predicted
    images, p = cases.images.numpy(), cases.probabilities
    shown = [
        (pick, maps[name])
        for pick, maps in zip(picks, maps_of_each(picks, results), strict=True)
        if pick.drawn and set(pick.targets) <= set(maps[name])  # all its maps may be shown
    ]

    right = [(pick.row, maps) for pick, maps in shown if guesses[pick.row] == labels[pick.row]][:MOST]
    if right:
        rows = [row for row, _ in right]
        own = np.stack([maps[guesses[row]] for row, maps in right])
        names = [classes[guesses[row]] for row in rows]
        recognised(
            folder / "recognised.png",
            images[rows],
            None if cases.masks is None else cases.masks[rows],
            names,
            own,
            title,
        )
    wrong = [(pick.row, maps) for pick, maps in shown if guesses[pick.row] != labels[pick.row]][:COMPARED]
    if wrong:
        told, lines = found.mistakes[found.mistakes["explainer"] == name].set_index("image"), []
        for row, maps in wrong:
            guess, truth, after = guesses[row], labels[row], told.loc[row]
            what = f"{short(classes[truth], 12)}, taken for\n{short(classes[guess], 12)} ({p[row, guess]:.2f})"
            note = (
                f"outlined regions hidden:\n{short(classes[truth], 12)} {p[row, truth]:.2f} → "
                f"{after['p_true_after']:.2f}{', corrected' if after['corrected'] else ''}"
            )
            mask, names = found.hidden[row, name], (classes[guess], classes[truth])
            lines.append((images[row], what, maps[guess], maps[truth], mask, names, note))
        compare(folder / "mistakes.png", f"Mistakes: {title} for the class chosen and for the true one", lines, unit)
    pairs = list(dict.fromkeys(pick.pair for pick in picks if pick.pair and pick.drawn))
    for place, (a, b) in enumerate(pairs, 1):
        lines = []
        for row, maps in [(pick.row, maps) for pick, maps in shown if pick.pair == (a, b)][:COMPARED]:
            chances = "\n".join(f"p({short(classes[label], 12)}) {p[row, label]:.2f}" for label in (a, b))
            what = f"true: {short(classes[labels[row]], 16)}\n{chances}"
            lines.append((images[row], what, maps[a], maps[b], None, (classes[a], classes[b]), ""))
        if lines:
            compare(folder / f"pair-{place:02d}.png", f"{classes[a]} or {classes[b]}? {title} for both", lines, unit)

    wider = panels_of(results)
    if wider is None:
        return
    digits = max(2, len(str(len(picks) - 1)))  # so that names sort as the picks do
    for place, (pick, rows) in enumerate(zip(picks, wider.rows(), strict=True)):
        if not pick.drawn:
            continue
        names = wider.request.targets[rows.start : rows.stop].tolist()
        panels(
            folder / "panels" / f"{place:0{digits}d}-{pick.group}-{pick.row}.png",
            images[pick.row],
            f"{TITLES[PANELS]} class by class: {pick.note}  (test image {pick.row}). "
            f"With every region hidden: {_empty(wider.attribution, rows.start, classes)}",
            [classes[label] for label in names],
            [wider.attribution.maps[row] if may_be_shown(wider.attribution, row) else None for row in rows],
            [_note(wider.attribution, row) for row in rows],
        )


def _empty(whole: Attribution, number: int, classes: tuple[str, ...]) -> str:
    """The most probable class with every region hidden."""
    label, p = whole.details[EMPTY][number], whole.details["empty_probability"][number]
    return f"{classes[int(label)]} ({p:.2f})"


def _note(whole: Attribution, number: int) -> str:
    """Base value + evidence for - evidence against = probability."""
    details = whole.details
    if not may_be_shown(whole, number):
        return f"not shown: the values miss\nf(x) by {details['additivity_error'][number]:.2g}"
    return equation(*(details[name][number] for name in ("base_value", "evidence_for", "evidence_against")))


def _picture(axis: Axes, image: np.ndarray) -> None:
    axis.imshow(image, interpolation="nearest")
    axis.set_axis_off()


def _map(axis: Axes, image: np.ndarray, values: np.ndarray | None) -> None:
    frame(axis)
    axis.imshow(np.ones_like(image) * 255 if values is None else blend(image, values), interpolation="nearest")


def _outline(axis: Axes, mask: np.ndarray, colour: str) -> None:
    if mask.any() and not mask.all():
        axis.contour(mask.astype(float), levels=[0.5], colors=[colour], linewidths=1.0)
