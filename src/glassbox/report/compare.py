"""Two studies on one HTML page that needs no network."""

from typing import Any

import numpy as np

from glassbox.bootstrap import FEWEST, interval
from glassbox.names import TITLES
from glassbox.report.page import MOST_CLASSES
from glassbox.report.pictures import map_uri, uri
from glassbox.report.words import render
from glassbox.seeds import derive
from glassbox.sides import Flip, Sides
from glassbox.versus import verdict

METRICS = {
    "accuracy": "test accuracy",
    "macro_f1": "macro F1",
    "log_loss": "log loss (nats)",
    "brier": "Brier score",
    "ece": "calibration error (ECE)",
}


def page(sides: Sides) -> str:
    """The page."""
    a, b = sides.a.name, sides.b.name
    return render(
        "compare.html",
        sides=sides,
        a=a,
        b=b,
        verdict=verdict(sides.found, a, b),
        metrics=[row | {"title": METRICS[row["metric"]]} for row in sides.found.metrics.to_dict("records")],
        matrix=_matrix(sides) if len(sides.a.card["classes"]) <= MOST_CLASSES else None,
        most=_most(sides),
        agreement=_agreement(sides),
        flips=((a, b, sides.found.only_a, [_flip(flip) for flip in sides.only_a]),
               (b, a, sides.found.only_b, [_flip(flip) for flip in sides.only_b])),
    )  # fmt: skip


def summary(sides: Sides) -> dict[str, float]:
    """The metrics that MLflow gets."""
    numbers = {f"difference/{row.metric}": float(row.difference) for row in sides.found.metrics.itertuples()}
    numbers |= {"mcnemar_p": sides.found.p, "only_a": len(sides.found.only_a), "only_b": len(sides.found.only_b)}
    means = sides.agreement.groupby("explainer")[["rank_correlation", "top_overlap"]].mean()
    return numbers | {f"{name}/{key}": mean for name in means for key, mean in means[name].dropna().items()}


def _matrix(sides: Sides) -> list[dict[str, Any]]:
    """Rows of the difference of the confusion matrices: `name` and `cells`, each with its `count` and its `share` of
    the largest."""
    matrix, classes = sides.found.matrix, sides.a.card["classes"]
    largest = max(1, int(np.abs(matrix).max()))
    return [
        {"name": name, "cells": [{"count": int(n), "share": abs(int(n)) / largest} for n in row]}
        for name, row in zip(classes, matrix, strict=True)
    ]


def _most(sides: Sides) -> list[dict[str, Any]]:
    """The classes that gain and lose most: `name`, and how many images more B recognises."""
    gained = np.diag(sides.found.matrix)
    order = np.argsort(-np.abs(gained), kind="stable")
    return [{"name": sides.a.card["classes"][k], "more": int(gained[k])} for k in order[:5] if gained[k]]


def _agreement(sides: Sides) -> list[dict[str, Any]]:
    """A row an explainer: `title`, and mean and 95 % interval of each measure, over the images that have it; None
    where none has, since all maps are empty."""
    rows = []
    seed = derive(sides.a.params.study.seed, "compare", "agreement")
    for name, part in sides.agreement.groupby("explainer", sort=False):
        row: dict[str, Any] = {"title": TITLES[name], "images": len(part), "chance": part["overlap_by_chance"].mean()}
        for measure in ("rank_correlation", "top_overlap"):
            values = part[measure].dropna().to_numpy()
            row[measure] = values.mean() if len(values) else None
            row[f"{measure}_ends"] = interval(values, seed) if len(values) >= FEWEST else None
        rows.append(row)
    return rows


def _flip(flip: Flip) -> dict[str, Any]:
    maps = [
        {"title": TITLES[name]}
        | {side: map_uri(flip.image, one) if one is not None else None for side, one in zip("ab", both, strict=True)}
        for name, both in flip.maps.items()
    ]
    return {"row": flip.row, "truth": flip.truth, "guesses": flip.guesses, "image": uri(flip.image), "maps": maps}
