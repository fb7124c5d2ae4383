"""Explanations as tables, arrays and sentences."""

from pathlib import Path

import numpy as np
import pandas as pd

from glassbox.config.explain import Superpixels
from glassbox.explainers import superpixels
from glassbox.explainers.base import Attribution, Request
from glassbox.explainers.captions import note, on_squares, sound
from glassbox.explaining.explanations import EMPTY, PANELS, Explained, Panels, gather_maps
from glassbox.explaining.selection import Cases, Pick


def index_table(
    picks: list[Pick],
    results: list[Explained],
    labels: np.ndarray,
    predicted: np.ndarray,
    source_index: np.ndarray,
    classes: tuple[str, ...],
    names: tuple[str, ...] | None = None,
) -> pd.DataFrame:
    """One row a map, in the order of the maps in attributions.npz: what is explained, by whom, at what cost, and
    whether it is drawn."""
    wanted = [(pick, target) for pick in picks for target in pick.targets]
    rows = np.array([pick.row for pick, _ in wanted])

    def named(labels: np.ndarray) -> np.ndarray:
        return np.array(classes, dtype=object)[labels]

    about = {
        "image": rows,
        "source_index": source_index[rows],
        **({"file": np.array(names, dtype=object)[rows]} if names else {}),
        "group": [pick.group for pick, _ in wanted],
        "true_class": named(labels[rows]),
        "predicted_class": named(predicted[rows]),
        "explained_class": named(np.array([target for _, target in wanted])),
    }
    parts = []
    for result in results:
        made = result.attribution
        measured = {
            "explainer": result.name,
            "forward_passes": made.forward_passes.astype(float).round(3),
            "backward_passes": made.backward_passes.astype(float).round(3),
            "all_zero": [not values.any() for values in made.maps],
            "drawn": [pick.drawn for pick, _ in wanted],
        }
        numbers = {name: values.astype(float) for name, values in (made.details | result.scores).items()}
        if EMPTY in made.details:
            numbers[EMPTY] = named(made.details[EMPTY].astype(int))
        parts.append(pd.DataFrame(about | measured | numbers))
    table = pd.concat(parts, ignore_index=True)
    table.insert(0, "map", np.arange(len(table)))
    return table


def seconds(results: list[Explained]) -> dict[str, list[float]]:
    """What each map took, in the order of the table `index`, which is the same in every rerun."""
    return {"seconds_a_map": [round(float(value), 6) for one in results for value in one.attribution.seconds]}


def tables(
    cases: Cases,
    results: list[Explained],
    how: Superpixels,
    source_index: np.ndarray,
    names: tuple[str, ...] | None = None,
) -> dict[str, pd.DataFrame]:
    """`index`, one row a map, and `panels`, one row for each of KernelSHAP's maps of further classes. In `index` stands
    also whether the regions of the image are a grid of `squares`; see `superpixels.segment`.

    Args:
        cases: what was explained.
        results: of every explainer.
        how: regions.
        source_index: (N,) position of each test image in its source.
        names: (N,) files, where the source has them.
    """
    index = index_table(cases.picks, results, cases.labels, cases.predicted, source_index, cases.classes, names)
    rows = [pick.row for pick in cases.picks]
    squares = superpixels.on_squares((cases.images[row].numpy() for row in rows), how)
    index["squares"] = index["image"].isin([row for row, fell in zip(rows, squares, strict=True) if fell])
    wider = panels_of(results)
    return {"index": index} | ({"panels": panels_table(cases, wider)} if wider else {})


def told(index: pd.DataFrame, explainers: int, additive: dict[str, float]) -> str:
    """What was done, in lines.

    Args:
        index: of `tables`.
        explainers: how many, without the control.
        additive: of `additivity`.
    """
    n, squares = index["image"].nunique(), index.loc[index["squares"], "image"].unique().tolist()
    lines = [f"explained {n} images with {explainers} explainers: {len(index)} maps", *on_squares(squares, n)]
    if additive:
        lines.append("KernelSHAP: {maps_not_additive} of {maps_checked} maps miss f(x)".format(**additive))
    return "\n".join(lines)


def arrays(results: list[Explained], request: Request, folder: str | Path | None = None) -> dict[str, np.ndarray]:
    """The maps in the order of the tables: `maps` (M, H, W) and `panels` (P, H, W) float32; and `images` (R, H, W, 3)
    uint8, one a row of the request.

    Args:
        results: of every explainer.
        request: the rows of each.
        folder: for a file that holds the maps; None keeps them in memory.
    """
    maps = gather_maps((result.attribution.maps for result in results), len(request) * len(results), folder)
    wider = panels_of(results)
    return {"maps": maps, "images": request.images.numpy()} | ({"panels": wider.attribution.maps} if wider else {})


def panels_of(results: list[Explained]) -> Panels | None:
    """KernelSHAP's maps of further classes, if there are any."""
    return next((result.panels for result in results if result.panels), None)


def panels_table(cases: Cases, panels: Panels) -> pd.DataFrame:
    """One row for each of KernelSHAP's maps of the picked images, in the order of `panels` in attributions.npz: base
    value, evidence, and whether they add up to the probability."""
    rows = []
    for pick, places in zip(cases.picks, panels.rows(), strict=True):
        for place in places:
            label = int(panels.request.targets[place])
            rows.append(
                {
                    "map": place,
                    "image": pick.row,
                    "explained_class": cases.classes[label],
                    "probability": cases.probabilities[pick.row, label],
                }
                | _details(panels.attribution, place)
                | {EMPTY: cases.classes[int(panels.attribution.details[EMPTY][place])]}
                | {"shown": may_be_shown(panels.attribution, place)}
            )
    return pd.DataFrame(rows)


def may_be_shown(attribution: Attribution, place: int) -> bool:
    """Whether a map keeps what its explainer promises: Shapley values add up, or are not shown."""
    return sound(_details(attribution, place))


def _details(attribution: Attribution, place: int) -> dict[str, float]:
    return {name: float(values[place]) for name, values in attribution.details.items()}


def additivity(results: list[Explained]) -> dict[str, float]:
    """Of all of KernelSHAP's maps, those of further classes included: the largest error of additivity, and how many
    maps are not shown for it. Empty without KernelSHAP."""
    for result in results:
        if result.name == PANELS:
            whole = result.panels.attribution if result.panels else result.attribution
            bad = [place for place in range(len(whole.maps)) if not may_be_shown(whole, place)]
            return {
                "additivity_error_max": float(whole.details["additivity_error"].max()),
                "maps_not_additive": len(bad),
                "maps_checked": len(whole.maps),
            }
    return {}


def figure_note(result: Explained, place: int, empty_class: str = "") -> str:
    """What is written under a map: how far it can be trusted; see `note`."""
    zero = not result.attribution.maps[place].any()
    return note(_details(result.attribution, place), zero, result.name, empty_class)
