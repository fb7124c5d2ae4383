"""Figures of the three analyses, and Shapley values of many classes."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from glassbox.config.explain import Explain
from glassbox.core.text import MINUS
from glassbox.explainers.base import Attribution
from glassbox.explainers.captions import equation
from glassbox.explainers.catalog import TITLES, analyst
from glassbox.explaining.analyses import Analyses, maps_of_each
from glassbox.explaining.explanations import EMPTY, PANELS, Explained
from glassbox.explaining.map_tables import may_be_shown, panels_of
from glassbox.explaining.selection import Cases, picture_of
from glassbox.figures.maps import colour_bar, normalise, outline, show_image, show_map
from glassbox.figures.style import COLUMN, GREEN, YELLOW, figure, heading, rows_of, short
from glassbox.xai_metrics.localization import area, relevance_mass

ACROSS = 4  # panels in a row
MOST, COMPARED = 10, 6  # images in a figure, and in one of two classes' maps; the tables hold them all


def panels(
    path: str | Path,
    image: np.ndarray,
    title: str,
    names: list[str],
    maps: list[np.ndarray | None],
    notes: list[str],
    mask: np.ndarray | None = None,
) -> None:
    """An image and its Shapley values for several classes, on one scale, like `shap.image_plot`: red speaks for the
    class, blue against it. The image is (H, W, 3) uint8, each map (H, W) in probability; None leaves its panel empty.
    Each panel has the name of its class above it and a note under it. The mask (H, W) bool of the evidence is outlined,
    if there is one."""
    rows = rows_of(1 + len(names), ACROSS)
    scale = max((np.abs(values).max() for values in maps if values is not None), default=0.0) or 1.0
    with figure(path, COLUMN, 1.95 * rows + 0.6) as drawing:
        heading(drawing, title)
        grid = drawing.add_gridspec(rows, ACROSS)
        picture = drawing.add_subplot(grid[0, 0])
        show_image(picture, image)
        if mask is not None:
            outline(picture, mask, GREEN)
        picture.set_title("image", fontsize=9)
        axes = []
        for place, (name, values, note) in enumerate(zip(names, maps, notes, strict=True), 1):
            axis = drawing.add_subplot(grid[place // ACROSS, place % ACROSS])
            show_map(axis, image, None if values is None else values / scale)
            if mask is not None:
                outline(axis, mask, GREEN)
            axis.set_title(short(name), fontsize=9)
            axis.set_xlabel(note, fontsize=7)
            axes.append(axis)
        colour_bar(drawing, axes, "SHAP value of the region (probability)", scale)


def recognised(
    path: str | Path, images: np.ndarray, masks: np.ndarray | None, names: list[str], maps: np.ndarray, title: str
) -> None:
    """Recognised images (N, H, W, 3) uint8 above the maps (N, H, W) of their classes, which are `names`. True masks
    (N, H, W) bool are outlined, where there are any. The title is the explainer's."""
    n = len(images)
    columns = min(n, ACROSS)
    rows = rows_of(n, columns)
    with figure(path, 1.6 * columns + 0.7, 3.6 * rows + 0.5) as drawing:
        heading(drawing, f"Recognised images and {title}'s maps of their classes")
        axes = drawing.subplots(2 * rows, columns, squeeze=False)
        for axis in axes.flat:
            axis.set_axis_off()
        for place in range(n):
            row, column = 2 * (place // columns), place % columns
            above, below = axes[row, column], axes[row + 1, column]
            show_image(above, images[place])
            above.set_title(short(names[place]), fontsize=9)
            show_map(below, images[place], normalise(maps[place]))
            if masks is not None and masks[place].any():
                outline(above, masks[place], GREEN)
                outline(below, masks[place], GREEN)
                mass = relevance_mass(maps[place][None], masks[place][None])[0]
                share = area(masks[place][None])[0]
                below.set_xlabel(
                    f"{100 * mass:.0f} % of the positive mass in\n{100 * share:.0f} % of the pixels", fontsize=7
                )
        colour_bar(drawing, list(axes.flat), "share of the map's largest")


@dataclass(frozen=True)
class Comparison:
    """Two classes' maps of an image."""

    image: np.ndarray  # (H, W, 3) uint8
    title: str  # as matplotlib takes it
    names: tuple[str, str]
    maps: tuple[np.ndarray, np.ndarray]  # (H, W) each
    mask: np.ndarray | None = None  # (H, W) bool, outlined in the difference
    evidence: np.ndarray | None = None  # (H, W) bool, the mask of the evidence, outlined in the image and both maps
    note: str = ""  # under the difference


def compare(path: str | Path, title: str, rows: list[Comparison], unit: str) -> None:
    """Two classes' maps of each image and their difference, one scale per image, in the unit of the maps."""
    with figure(path, 6.8, 1.9 * len(rows) + 0.6) as drawing:
        drawing.get_layout_engine().set(h_pad=0.08)  # inches: text of two lines needs them
        heading(drawing, title)
        axes = drawing.subplots(len(rows), 4, squeeze=False)
        for (picture, *map_axes), row in zip(axes, rows, strict=True):
            show_image(picture, row.image)
            picture.set_title(row.title, fontsize=8)
            first, second = map(short, row.names)
            shown = (*row.maps, row.maps[0] - row.maps[1])
            titles = (f"for {first}", f"for {second}", f"{first} {MINUS} {second}")
            scale = np.abs(shown).max() or 1.0
            for axis, values, name in zip(map_axes, shown, titles, strict=True):
                show_map(axis, row.image, values / scale)
                axis.set_title(name, fontsize=8)
            if row.evidence is not None:
                for axis in (picture, *map_axes[:2]):
                    outline(axis, row.evidence, GREEN)
            if row.mask is not None:
                outline(map_axes[-1], row.mask, YELLOW)
            map_axes[-1].set_xlabel(row.note, fontsize=7)
        gap = 0.05  # notes may be wider than the maps
        colour_bar(drawing, list(axes[:, 1:].flat), f"{unit}, share of the row's largest", pad=gap)


def draw_all(folder: Path, cases: Cases, results: list[Explained], analyses: Analyses, settings: Explain) -> None:
    """`recognised.png`, `mistakes.png`, `pair-A-B.png` of classes A and B, by number, and `panels/` with one figure per
    image, of the picks that are to be drawn. A figure without content is left out, as are maps whose Shapley values do
    not add up."""
    name = analyst(settings.explainers)
    title, unit = TITLES[name], "probability" if name in ("kernel_shap", "lime") else "attribution"
    drawn = [
        (pick, maps[name])
        for pick, maps in zip(cases.picks, maps_of_each(cases.picks, results), strict=True)
        if pick.drawn and set(pick.targets) <= set(maps[name])  # all its maps may be shown
    ]
    correct = cases.predicted == cases.labels
    right = [(pick.row, maps) for pick, maps in drawn if correct[pick.row]][:MOST]
    wrong = [(pick.row, maps) for pick, maps in drawn if not correct[pick.row]][:COMPARED]
    if right:
        rows = [row for row, _ in right]
        recognised(
            folder / "recognised.png",
            cases.images.numpy()[rows],
            None if cases.masks is None else cases.masks[rows],
            [cases.classes[cases.labels[row]] for row in rows],
            np.stack([maps[cases.labels[row]] for row, maps in right]),
            title,
        )
    if wrong:
        rows = [_mistake(cases, row, maps, analyses, name) for row, maps in wrong]
        compare(folder / "mistakes.png", f"Mistakes: {title} for the predicted and for the true class", rows, unit)
    pairs = dict.fromkeys(pick.pair for pick in cases.picks if pick.pair and pick.drawn)
    for pair in pairs:
        of_pair = [(pick.row, maps) for pick, maps in drawn if pick.pair == pair][:COMPARED]
        if of_pair:
            a, b = (cases.classes[label] for label in pair)
            rows = [_of_pair(cases, row, maps, pair) for row, maps in of_pair]
            compare(folder / f"pair-{pair[0]}-{pair[1]}.png", f"{a} or {b}? {title} for both", rows, unit)
    _draw_panels(folder / "panels", cases, results)


def _mistake(cases: Cases, row: int, maps: dict[int, np.ndarray], analyses: Analyses, name: str) -> Comparison:
    p, truth = cases.probabilities[row], cases.labels[row]
    guess = p.argmax()
    table = analyses.mistakes
    after = table[(table["explainer"] == name) & (table["image"] == row)].iloc[0]
    predicted, true = (short(cases.classes[label], 12) for label in (guess, truth))
    return Comparison(
        image=cases.images[row].numpy(),
        title=f"{true}, taken for\n{predicted} ({p[guess]:.2f})",
        names=(cases.classes[guess], cases.classes[truth]),
        maps=(maps[guess], maps[truth]),
        mask=analyses.hidden[row, name],
        evidence=None if cases.masks is None else cases.masks[row],
        note=(
            f"outlined regions hidden:\n{true} {p[truth]:.2f} → {after['p_true_after']:.2f}"
            + ("\ncorrected" if after["corrected"] else "")
        ),
    )


def _of_pair(cases: Cases, row: int, maps: dict[int, np.ndarray], pair: tuple[int, int]) -> Comparison:
    p = (f"p({short(cases.classes[label], 12)}) {cases.probabilities[row, label]:.2f}" for label in pair)
    a, b = pair
    return Comparison(
        image=cases.images[row].numpy(),
        title="\n".join([f"true: {short(cases.classes[cases.labels[row]], 16)}", *p]),
        names=(cases.classes[a], cases.classes[b]),
        maps=(maps[a], maps[b]),
        evidence=None if cases.masks is None else cases.masks[row],
    )


def _draw_panels(folder: Path, cases: Cases, results: list[Explained]) -> None:
    """Shapley values of many classes, one figure per image."""
    wider = panels_of(results)
    if wider is None:
        return
    details = wider.attribution.details
    for pick, rows in zip(cases.picks, wider.rows(), strict=True):
        if not pick.drawn:
            continue
        empty, p = cases.classes[int(details[EMPTY][rows.start])], details["empty_probability"][rows.start]
        panels(
            folder / picture_of(pick.row),
            cases.images[pick.row].numpy(),
            f"{TITLES[PANELS]} class by class: {pick.note}  (test image {pick.row}). "
            f"With every region hidden: {empty} ({p:.2f})",
            [cases.classes[label] for label in wider.request.targets[rows.start : rows.stop].tolist()],
            [wider.attribution.maps[row] if may_be_shown(wider.attribution, row) else None for row in rows],
            [_note(wider.attribution, row) for row in rows],
            None if cases.masks is None else cases.masks[pick.row],
        )


def _note(attribution: Attribution, row: int) -> str:
    """Base value + evidence for - evidence against = probability."""
    details = attribution.details
    if not may_be_shown(attribution, row):
        return f"not shown: the values miss\nf(x) by {details['additivity_error'][row]:.2g}"
    return equation(*(details[name][row] for name in ("base_value", "evidence_for", "evidence_against")))
