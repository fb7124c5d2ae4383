"""What was measured, as tables."""

import numpy as np
import pandas as pd

from glassbox.explainers.base import constant
from glassbox.explainers.catalog import CONTROLLED, EXPLAINER
from glassbox.scoring.measurement import Scored
from glassbox.scoring.preparation import Ground


def table(scored: list[Scored], ground: Ground, classes: tuple[str, ...]) -> pd.DataFrame:
    """Wide form: a row for each subject and image, a column for each metric and setting; see `Column`. `constant_map`
    says whether the map has one value, and so ranks no pixel."""
    parts = []
    for one in scored:
        about = {
            "explainer": one.name,
            "kind": one.kind,
            "image": ground.rows,
            "explained_class": [classes[target] for target in ground.request.targets.tolist()],
            "forward_passes": one.attribution.forward_passes.round(3),
            "backward_passes": one.attribution.backward_passes.round(3),
            "constant_map": constant(one.attribution.maps),
        }
        parts.append(pd.DataFrame(about | {str(column): values for column, values in one.values.items()}))
    return pd.concat(parts, ignore_index=True)


def constant_maps(values: pd.DataFrame) -> dict[str, dict[str, int]]:
    """Of each explainer and control how many of its maps have one value, `constant`, and how many there are, `images`.

    Args:
        values: of `table`.
    """
    own = values[values["kind"].isin((EXPLAINER, CONTROLLED))].groupby("explainer", sort=False)["constant_map"]
    return {name: {"constant": int(maps.sum()), "images": len(maps)} for name, maps in own}


def curves(scored: list[Scored]) -> pd.DataFrame:
    """What randomization did to maps, a row for each subject, model and image."""
    return pd.concat([one.curve for one in scored if one.curve is not None], ignore_index=True)


def costs(scored: list[Scored]) -> dict[str, dict[str, dict[str, float]]]:
    """Milliseconds a map (median) and GiB of memory beyond what was in use before, by kind and name."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for one in scored:
        found.setdefault(one.kind, {})[one.name] = {
            "milliseconds": 1000 * float(np.median(one.attribution.seconds)),
            "peak_memory": one.memory,
        }
    return found


def budgets(scored: list[Scored]) -> pd.DataFrame:
    """A row a subject: what a map may cost at most, and what it did cost on average."""
    return pd.DataFrame(
        {
            "explainer": one.name,
            "kind": one.kind,
            "stated_forward_passes": one.budget.forward_passes,
            "forward_passes": one.attribution.forward_passes.mean(),
            "stated_backward_passes": one.budget.backward_passes,
            "backward_passes": one.attribution.backward_passes.mean(),
        }
        for one in scored
    )
