"""Figures of a repair."""

from pathlib import Path

from glassbox.explainers.catalog import TITLES
from glassbox.figures.maps import frame, normalise, outline, show_map
from glassbox.figures.style import BLUE, COLUMN, GREEN, GREY, ORANGE, RED, figure, heading, wrapped
from glassbox.repair.outcome import Maps, Outcome
from glassbox.repair.proof import CLEAN, ELSEWHERE, MORE, MOVED, ORIGINAL, RIVALS, WORST

NAMES = {ELSEWHERE: "same repair at random"}
LOOKS = {ORIGINAL: (GREY, "s"), MORE: (ORANGE, "D"), ELSEWHERE: (RED, "v"), "repaired": (BLUE, "o")}
MEASURES = {CLEAN: "test images as they are", MOVED: "shortcut on the wrong classes", WORST: "worst group"}


def draw_all(folder: str | Path, result: Outcome) -> None:
    """maps.png and comparison.png."""
    before_and_after(Path(folder) / "maps.png", result.maps)
    comparison(Path(folder) / "comparison.png", result)


def before_and_after(path: str | Path, maps: Maps) -> None:
    """Images of the class, then others on which the candidate was put, and their maps for the class by each network."""
    n, networks = len(maps.images), maps.networks
    with figure(path, COLUMN, 1.15 * (1 + len(networks)) + 0.6) as drawing:
        axes = drawing.subplots(1 + len(networks), n, squeeze=False)
        for place, image in enumerate(maps.images):
            frame(axes[0, place])
            axes[0, place].imshow(image, interpolation="nearest")
            for row, (name, values) in enumerate(networks.items(), start=1):
                show_map(axes[row, place], image, normalise(values[place]))
                axes[row, 0].set_ylabel(wrapped(name.replace("_", " "), 1.0, size=8), fontsize=8)
            if maps.mask is not None:
                for axis in axes[:, place]:
                    outline(axis, maps.mask, GREEN)
        axes[0, 0].set_ylabel("image", fontsize=8)
        heading(drawing, f"{TITLES[maps.explainer]}, for the class of the first finding")


def comparison(path: str | Path, result: Outcome) -> None:
    """Accuracy of the repaired networks and of their rivals, in a panel for each measure: mean and range over the
    repeats. Differences with intervals stand in comparison.csv."""
    ways = [verdict["way"] for verdict in result.verdicts]
    outcomes = {verdict["way"]: verdict["outcome"] for verdict in result.verdicts}
    with figure(path, COLUMN, 0.62 * len(ways) + 1.5) as drawing:
        axes = drawing.subplots(1, len(MEASURES), sharey=True)
        for axis, (measure, title) in zip(axes, MEASURES.items(), strict=True):
            for row, way in enumerate(reversed(ways)):
                part = result.pairs[(result.pairs["measure"] == measure) & (result.pairs["way"] == way)]
                shown = {rival: part.loc[part["against"] == rival, "value_against"] for rival in RIVALS}
                shown["repaired"] = part.loc[part["against"] == ORIGINAL, "value"]
                for place, (name, values) in enumerate(shown.items()):
                    colour, marker = LOOKS[name]
                    height = row + 0.24 - 0.16 * place
                    axis.hlines(height, 100 * values.min(), 100 * values.max(), color=colour, linewidth=1.5)
                    label = {"label": NAMES.get(name, name)} if row == 0 else {}
                    axis.plot(100 * values.mean(), height, marker, color=colour, markersize=5, **label)
            axis.set_xlabel(f"accuracy, %\n{title}", fontsize=8)
            axis.set_xlim(-3, 103)
            axis.grid(axis="x")
        axes[0].set_yticks(
            range(len(ways)), [f"{way.replace('_', ' ')}\n({outcomes[way]})" for way in reversed(ways)], fontsize=8
        )
        axes[0].set_ylim(-0.5, len(ways) - 0.5)
        drawing.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4, fontsize=7)
