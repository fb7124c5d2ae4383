"""Explanations as tables, arrays and sentences."""

from pathlib import Path

import numpy as np
import pandas as pd

from glassbox.config.explain import Superpixels
from glassbox.data.store import Split
from glassbox.explainers import superpixels
from glassbox.explainers.base import Attribution
from glassbox.explainers.captions import note, on_squares, sound
from glassbox.explainers.catalog import TITLES
from glassbox.explainers.running import gather_maps
from glassbox.explaining.explanations import EMPTY, PANELS, Explained, Panels, Plan
from glassbox.explaining.selection import Cases


def tables(cases: Cases, results: list[Explained], how: Superpixels, test: Split) -> dict[str, pd.DataFrame]:
    """`index_table` and, with Shapley values of further classes, `panels_table`. `test` has the images' positions and
    files in their source."""
    further = panels_of(results)
    index = {"index": index_table(cases, results, how, test)}
    return index | ({"panels": panels_table(cases, further)} if further else {})


def index_table(cases: Cases, results: list[Explained], how: Superpixels, test: Split) -> pd.DataFrame:
    """One row a map, in the order of the maps in attributions.npz: image, class, explainer, cost, whether it is drawn,
    and whether the regions of its image are a grid of `squares`; see `superpixels.segment`."""
    wanted = [(pick, target) for pick in cases.picks for target in pick.targets]
    rows = np.array([pick.row for pick, _ in wanted])

    def named(labels: np.ndarray) -> np.ndarray:
        return np.array(cases.classes, dtype=object)[labels]

    about = {
        "image": rows,
        "source_index": test.index.numpy()[rows],
        **({"file": np.array(test.names, dtype=object)[rows]} if test.names else {}),
        "group": [pick.group for pick, _ in wanted],
        "true_class": named(cases.labels[rows]),
        "predicted_class": named(cases.predicted[rows]),
        "explained_class": named(np.array([target for _, target in wanted])),
    }
    parts = []
    for result in results:
        attribution = result.attribution
        measured = {
            "explainer": result.name,
            "forward_passes": attribution.forward_passes.astype(float).round(3),
            "backward_passes": attribution.backward_passes.astype(float).round(3),
            "all_zero": [not values.any() for values in attribution.maps],
            "drawn": [pick.drawn for pick, _ in wanted],
        }
        numbers = {name: values.astype(float) for name, values in (attribution.details | result.scores).items()}
        if EMPTY in attribution.details:
            numbers[EMPTY] = named(attribution.details[EMPTY].astype(int))
        parts.append(pd.DataFrame(about | measured | numbers))
    table = pd.concat(parts, ignore_index=True)
    table.insert(0, "map", np.arange(len(table)))
    picked = [pick.row for pick in cases.picks]
    squares = superpixels.on_squares((cases.images[row].numpy() for row in picked), how)
    return table.assign(squares=table["image"].isin(np.array(picked)[squares]))


def seconds(results: list[Explained]) -> dict[str, list[float]]:
    """Seconds of each map, in the order of the table `index`, which is the same in every rerun."""
    return {"seconds_a_map": [round(float(value), 6) for result in results for value in result.attribution.seconds]}


def summary(index: pd.DataFrame, explainers: int, additive: dict[str, float]) -> str:
    """The numbers of images, explainers (without the control) and maps, in lines; see `tables` and `additivity`."""
    n, squares = index["image"].nunique(), index.loc[index["squares"], "image"].unique().tolist()
    lines = [f"explained {n} images with {explainers} explainers: {len(index)} maps", *on_squares(squares, n)]
    if additive:
        lines.append("{}: {maps_not_additive} of {maps_checked} maps miss f(x)".format(TITLES[PANELS], **additive))
    return "\n".join(lines)


def arrays(results: list[Explained], plan: Plan, folder: str | Path | None = None) -> dict[str, np.ndarray]:
    """The maps in the order of the tables: `maps` (M, H, W) and `panels` (P, H, W) float32, in a file of `folder`, or
    without one in memory; `removal` (M, P), see `Explained`; and `images` (R, H, W, 3) uint8, one a row of the request,
    with their `masks` (R, H, W) bool where the evidence is marked."""
    request, further = plan.request, panels_of(results)
    maps = gather_maps((result.attribution.maps for result in results), len(request) * len(results), folder)
    masks = {} if plan.masks is None else {"masks": plan.masks[[*plan.rows]]}
    panels = {"panels": further.attribution.maps} if further else {}
    curves = [result.removal for result in results if result.removal is not None]
    removal = {"removal": np.concatenate(curves).astype(np.float32)} if len(curves) == len(results) else {}
    return {"maps": maps, "images": request.images.numpy()} | removal | masks | panels


def panels_of(results: list[Explained]) -> Panels | None:
    """The Shapley values of further classes, if there are any."""
    return next((result.panels for result in results if result.panels), None)


def panels_table(cases: Cases, panels: Panels) -> pd.DataFrame:
    """One row for each map of the Shapley values of the picked images, in the order of `panels` in attributions.npz:
    base value, evidence, and whether they add up to the probability."""
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
    """Whether a map keeps what its explainer promises; see `captions.sound`."""
    return sound(_details(attribution, place))


def _details(attribution: Attribution, place: int) -> dict[str, float]:
    return {name: float(values[place]) for name, values in attribution.details.items()}


def additivity(results: list[Explained]) -> dict[str, float]:
    """The largest error of additivity of all Shapley values, those of further classes included, and how many maps are
    not shown for it. Empty without Shapley values."""
    for result in results:
        if result.name == PANELS:
            attribution = result.panels.attribution if result.panels else result.attribution
            bad = [place for place in range(len(attribution.maps)) if not may_be_shown(attribution, place)]
            return {
                "additivity_error_max": float(attribution.details["additivity_error"].max()),
                "maps_not_additive": len(bad),
                "maps_checked": len(attribution.maps),
            }
    return {}


def figure_note(result: Explained, place: int, empty_class: str = "") -> str:
    """The caption of a map, see `captions.note`."""
    zero = not result.attribution.maps[place].any()
    return note(_details(result.attribution, place), zero, result.name, empty_class)
