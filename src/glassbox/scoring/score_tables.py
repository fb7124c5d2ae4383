"""The measured values as tables."""

from typing import Any

import numpy as np
import pandas as pd
import torch
from torch.nn.functional import adaptive_avg_pool2d

from glassbox.explainers.base import constant
from glassbox.explainers.catalog import CONTROLLED, EXPLAINER
from glassbox.scoring.measurement import Scored
from glassbox.scoring.preparation import Ground

SHOWN = 48  # most pixels along a side of the maps that are kept
CURVE = ("explainer", "step", "randomised_from", "image", "entropy_rise", "rank_agreement")  # columns of `curves`


def table(scored: list[Scored], ground: Ground, classes: tuple[str, ...]) -> pd.DataFrame:
    """Wide form: a row for each subject and image, a column for each metric and setting; see `Column`. `constant_map`
    marks maps of one value, which rank no pixel."""
    parts = []
    for subject in scored:
        about = {
            "explainer": subject.name,
            "kind": subject.kind,
            "image": ground.rows,
            "explained_class": [classes[target] for target in ground.request.targets.tolist()],
            "forward_passes": subject.attribution.forward_passes.round(3),
            "backward_passes": subject.attribution.backward_passes.round(3),
            "constant_map": constant(subject.attribution.maps),
        }
        parts.append(pd.DataFrame(about | {str(column): values for column, values in subject.values.items()}))
    return pd.concat(parts, ignore_index=True)


def kept_maps(scored: list[Scored], ground: Ground, classes: tuple[str, ...]) -> tuple[pd.DataFrame, np.ndarray]:
    """The explainers' maps with their own settings, to be looked at: a row for each with `map`, `image`, `explainer`
    and `explained_class`, and in that order (M, h, w) float16, averaged to a side of at most `SHOWN` pixels."""
    parts, tables = [], []
    for subject in (subject for subject in scored if subject.kind == EXPLAINER):
        maps = torch.from_numpy(np.array(subject.attribution.maps))
        parts.append(adaptive_avg_pool2d(maps, min(maps.shape[-1], SHOWN)).half().numpy())
        named = [classes[target] for target in ground.request.targets.tolist()]
        tables.append(pd.DataFrame({"image": ground.rows, "explainer": subject.name, "explained_class": named}))
    table = pd.concat(tables, ignore_index=True)
    table.insert(0, "map", np.arange(len(table)))
    return table, np.concatenate(parts)


def constant_maps(values: pd.DataFrame) -> dict[str, dict[str, int]]:
    """For each explainer and control in a `table` how many of its maps, `images`, have one value, `constant`."""
    whole = values[values["kind"].isin((EXPLAINER, CONTROLLED))].groupby("explainer", sort=False)["constant_map"]
    return {name: {"constant": int(maps.sum()), "images": len(maps)} for name, maps in whole}


def curves(scored: list[Scored]) -> pd.DataFrame:
    """The effect of randomization on maps, a row for each subject, model and image; empty if it was not measured."""
    measured = [subject.curve for subject in scored if subject.curve is not None]
    return pd.concat(measured, ignore_index=True) if measured else pd.DataFrame(columns=[*CURVE])


def costs(scored: list[Scored]) -> dict[str, dict[str, dict[str, float]]]:
    """Milliseconds a map (median) and GiB of memory beyond what was in use before, by kind and name."""
    by_kind: dict[str, dict[str, dict[str, float]]] = {}
    for subject in scored:
        by_kind.setdefault(subject.kind, {})[subject.name] = {
            "milliseconds": 1000 * float(np.median(subject.attribution.seconds)),
            "peak_memory": subject.memory,
        }
    return by_kind


def budgets(scored: list[Scored]) -> pd.DataFrame:
    """A row a subject: the most that a map costs, and the mean of what it did cost."""
    return pd.DataFrame(
        {
            "explainer": subject.name,
            "kind": subject.kind,
            "stated_forward_passes": subject.budget.forward_passes,
            "forward_passes": subject.attribution.forward_passes.mean(),
            "stated_backward_passes": subject.budget.backward_passes,
            "backward_passes": subject.attribution.backward_passes.mean(),
        }
        for subject in scored
    )


def records(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON has them: null for NaN, as for an interval that does not exist."""
    return [
        {name: None if isinstance(value, float) and np.isnan(value) else value for name, value in row.items()}
        for row in rows.to_dict("records")
    ]
