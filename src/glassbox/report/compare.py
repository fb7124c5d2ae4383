"""Two studies on one HTML page that needs no network."""

from typing import Any

import numpy as np

from glassbox.comparing.classifiers import FEWEST, TITLES, n_tests, verdict
from glassbox.comparing.studies import PARAMETER, RECORDED, RESULT, Flip, Sides, causes
from glassbox.core.seeds import derive
from glassbox.explainers.catalog import title_of
from glassbox.report.calibration import which
from glassbox.report.page import MOST_CLASSES
from glassbox.report.pictures import map_uri, uri
from glassbox.report.words import render
from glassbox.statistics.bootstrap import interval

KINDS = {PARAMETER: "Parameters, with the values used", RECORDED: "By the records", RESULT: "Results of training"}
UNITS = {"log_loss": " (nats)"}


def sentences(sides: Sides) -> list[str]:
    """The first sentences of page and terminal: the verdict, and what differs between the two studies."""
    return [*verdict(sides.found, sides.a.name, sides.b.name), causes(sides)]


def page(sides: Sides) -> str:
    """The page as HTML."""
    a, b = sides.a.name, sides.b.name
    return render(
        "compare.html",
        sides=sides,
        a=a,
        b=b,
        probabilities=[which(side.calibration) for side in (sides.a, sides.b)],
        sentences=sentences(sides),
        tests=n_tests(sides.found.metrics),
        fewest=FEWEST,
        metrics=[
            row | {"title": TITLES[row["metric"]] + UNITS.get(row["metric"], "")}
            for row in sides.found.metrics.to_dict("records")
        ],
        differences=[
            (title, part.to_dict("records"))
            for kind, title in KINDS.items()
            if len(part := sides.differences[sides.differences["kind"] == kind])
        ],
        matrix=_matrix(sides) if len(sides.a.classes) <= MOST_CLASSES else None,
        most=_most(sides),
        agreement=_agreement(sides),
        flips=[
            (a, b, sides.found.only_a, [_flip(flip) for flip in sides.only_a]),
            (b, a, sides.found.only_b, [_flip(flip) for flip in sides.only_b]),
        ],
    )


def summary(sides: Sides) -> dict[str, float]:
    """The metrics for MLflow: differences, p-values before and after Holm's correction where there is a test, numbers
    of images that only one study recognises, and means of the maps' agreement."""
    numbers: dict[str, float] = {}
    for row in sides.found.metrics.itertuples():
        values = {"difference": row.difference, "low": row.low, "high": row.high, "p": row.p, "p_holm": row.p_holm}
        numbers |= {f"{name}/{row.metric}": float(value) for name, value in values.items() if not np.isnan(value)}
    numbers |= {"only_a": len(sides.found.only_a), "only_b": len(sides.found.only_b)}
    means = sides.agreement.groupby("explainer")[["rank_correlation", "top_overlap"]].mean()
    return numbers | {f"{name}/{key}": mean for name in means for key, mean in means[name].dropna().items()}


def outcomes(sides: Sides) -> dict[str, str]:
    """The tags for MLflow: by metric whether B is better, worse, undecided or not tested."""
    return {f"outcome/{row.metric}": row.outcome for row in sides.found.metrics.itertuples()}


def _matrix(sides: Sides) -> list[dict[str, Any]]:
    """Rows of the difference of the confusion matrices: `name` and `cells`, each with its `count`, and its `share` of
    the largest count."""
    matrix, classes = sides.found.matrix, sides.a.classes
    largest = max(1, int(np.abs(matrix).max()))
    return [
        {"name": name, "cells": [{"count": int(n), "share": abs(int(n)) / largest} for n in row]}
        for name, row in zip(classes, matrix, strict=True)
    ]


def _most(sides: Sides) -> list[dict[str, Any]]:
    """The five classes at most whose numbers of recognised images differ most: `name`, and how many images `more` B
    recognises."""
    gained = np.diag(sides.found.matrix)
    order = np.argsort(-np.abs(gained), kind="stable")
    return [{"name": sides.a.classes[k], "more": int(gained[k])} for k in order[:5] if gained[k]]


def _agreement(sides: Sides) -> list[dict[str, Any]]:
    """One row per explainer: `title`, `images`, the overlap by `chance`, and by measure the mean over the images with a
    value (None where all maps are empty) and the ends of its 95 % interval (None where the images are too few)."""
    rows = []
    seed = derive(sides.a.params.study.seed, "compare", "agreement")
    for name, part in sides.agreement.groupby("explainer", sort=False):
        row: dict[str, Any] = {"title": title_of(name), "images": len(part), "chance": part["overlap_by_chance"].mean()}
        for measure in ("rank_correlation", "top_overlap"):
            values = part[measure].dropna().to_numpy()
            row[measure] = values.mean() if len(values) else None
            ends = interval(values, seed) if len(values) else (np.nan, np.nan)
            row[f"{measure}_ends"] = None if np.isnan(ends).any() else ends
        rows.append(row)
    return rows


def _flip(flip: Flip) -> dict[str, Any]:
    maps = [
        {"title": title_of(name)}
        | {
            side: None if values is None else map_uri(flip.image, values)
            for side, values in zip("ab", both, strict=True)
        }
        for name, both in flip.maps.items()
    ]
    return {"row": flip.row, "truth": flip.truth, "guesses": flip.guesses, "image": uri(flip.image), "maps": maps}
