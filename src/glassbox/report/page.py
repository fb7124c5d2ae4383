"""The study on one HTML page that needs no network. Nothing is computed again but the hypotheses' checks."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from glassbox.config import yaml_file
from glassbox.evaluation import chance_level
from glassbox.explainers.captions import equation, note, sound
from glassbox.explainers.catalog import CONTROL, CONTROLS, TITLES, UNTRAINED, control_of
from glassbox.report import analyses, calibration, contents, hypotheses
from glassbox.report.card import card, network_in_words, origin
from glassbox.report.pictures import map_uri, png_uri, svg_path, uri
from glassbox.report.study import Study
from glassbox.report.words import macro_f1_ends, render
from glassbox.scoring import verdicts
from glassbox.xai_metrics import image_background
from glassbox.xai_metrics.catalog import MEASUREMENTS

SCRIPT = Path(__file__).parent / "page.js"
MOST_CLASSES = 30  # of a confusion matrix whose cells show their images
OF_A_CELL = 8  # images of a cell, at most
THUMBNAIL = 48  # side in pixels
PROBABLE = 5  # classes whose probabilities stand beside an explained image
GROUPS = {  # of explained images
    "chosen": "Chosen in the parameters",
    "correct": "Recognised",
    "mistake": "Mistake",
    "pair": "Confusable pair",
}
DETAILS = ("local_r2", "additivity_error", "base_value", "empty_probability", "completeness_error")


def page(study: Study, images: Any, study_digest: str) -> str:
    """The page of a finished study, with images of its test split (N, H, W, 3) uint8 and the digest of its record."""
    from markdown_it import MarkdownIt

    folder, classes, settings = study.folder, study.classes, study.params.explain

    def picture(name: str) -> str:
        return png_uri((folder / name).read_bytes())

    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    hidden = settings.analyses.hidden
    findings = {
        "correct": analyses.recognised(study.index, study.recognised, study.analyst, study.ranking, study.plausible),
        "mistake": analyses.mistakes(study.mistakes, study.index, study.analyst, hidden, len(classes)),
        "pair": analyses.pairs(study.confusable, study.analyst, len(classes)),
    }
    pairs = (folder / "explain/analyses").glob("pair-*.png")
    network = network_in_words(study.model["name"])
    return render(
        "page.html",
        study=study,
        network=network[0].upper() + network[1:] if network.startswith("a ") else network,
        study_digest=study_digest,
        script=SCRIPT.read_text(encoding="utf-8"),
        picture=picture,
        has=lambda name: (folder / name).exists(),
        cases=cases(study),
        groups=GROUPS,
        matrix=matrix(study, images) if len(classes) <= MOST_CLASSES else None,
        model_card=markdown.render(card(study).replace("\n## ", "\n### ").replace("## Model", "### Model", 1)),
        findings=findings,
        baseline_note=_baseline_note(study),
        probabilities=calibration.which(study.calibration),
        log_loss=calibration.both(study.metrics, "log_loss", study.calibration),
        brier=calibration.both(study.metrics, "brier", study.calibration),
        calibrated=calibration.sentences(study.metrics, study.calibration, study.params.evaluate.calibration_bins),
        analyst=TITLES[study.analyst],
        titles=MEASUREMENTS,
        standings=standings(study.ranking) if study.ranking else None,
        outcomes=outcomes(study.ranking) if study.ranking else {},
        names=TITLES,
        untrained=study.scorecard is not None and (study.scorecard["kind"] == UNTRAINED).any(),
        pair_pictures=sorted(path.relative_to(folder).as_posix() for path in pairs),
        parameters=yaml_file.flatten(study.params),
        dumps=json.dumps,
        against_majority=chance_level.sentence(study.metrics),
        balanced_ends=chance_level.ends(study.metrics),
        origin=origin(study),
        macro_f1_ends=macro_f1_ends(study.metrics, f"{100 * study.params.evaluate.confidence:g} %"),
        explainers=contents.explainer_table(study),
        columns=contents.columns(study),
        used=contents.stability_of_the_study(study),
        hypotheses=hypotheses.check(study),
        sentence=hypotheses.sentence,
    )


def standings(ranking: dict[str, Any]) -> dict[str, Any] | None:
    """Table of the outcomes against the controls, counted by explainer and measure: `titles` of the measures with their
    numbers of images, and `rows`, each with a `title` and `cells`. None where nothing was compared."""
    tested = {metric: row["controls"] for metric, row in ranking["metrics"].items() if row["controls"]}
    titles = [f"{MEASUREMENTS[metric]} (n = {verdicts.sizes(tests)})" for metric, tests in tested.items()]
    rows = [
        {"title": TITLES[name], "cells": [by_metric.get(metric) for metric in tested]}
        for name, by_metric in verdicts.tally(ranking).items()
    ]
    return {"titles": titles, "rows": rows} if rows else None


def outcomes(ranking: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """By measure a table of explainers and controls: titles of the `columns`, and `rows`, each with a `title` and its
    tests as `cells`, None where there was no test."""
    tables = {}
    for metric, row in ranking["metrics"].items():
        tests = {(test["explainer"], control_of(test["control"])): test for test in row["controls"]}
        titles = CONTROLS | ({UNTRAINED: "itself untrained"} if UNTRAINED in {key for _, key in tests} else {})
        names = dict.fromkeys(name for name, _ in tests)
        rows = [{"title": TITLES[name], "cells": [tests.get((name, key)) for key in titles]} for name in names]
        tables[metric] = {"columns": [*titles.values()], "rows": rows}
    return tables


def _baseline_note(study: Study) -> str:
    """What the maps of Integrated Gradients cannot show; see `image_background.note`."""
    explain = study.params.explain
    if "integrated_gradients" not in explain.explainers or study.ranking is None:
        return ""
    return image_background.note(explain.integrated_gradients.baseline, study.ranking["baselines"])


def cases(study: Study) -> list[dict[str, Any]]:
    """The images that are drawn, in their order: each with its `row` in the test split, `group`, `truth`, `guess`,
    `file` or None, `image`, `outline` of its mask as a path of SVG, whose unit is a pixel, `side` in pixels,
    `probabilities` of the most probable classes, `explained` (a row of maps for each class), `panels` (Shapley values
    of many classes) and `empty` (the prediction with every region hidden)."""
    maps, images, masks = study.arrays["maps"], study.arrays["images"], study.arrays.get("masks")
    drawn = []
    for row, part in study.index[study.index["drawn"]].groupby("image", sort=False):
        first = part.iloc[0]
        image = images[first["map"] % len(images)]
        by_class = part[part["explainer"] != CONTROL].groupby("explained_class", sort=False)
        panels, empty = _panels(study, int(row), image)
        drawn.append(
            {
                "row": int(row),
                "group": first["group"],
                "truth": first["true_class"],
                "guess": first["predicted_class"],
                "file": first.get("file"),
                "image": uri(image),
                "outline": "" if masks is None else svg_path(masks[first["map"] % len(images)]),
                "side": len(image),
                "probabilities": _probabilities(study, int(row)),
                "explained": [
                    {"class": name, "maps": [_shown(image, maps[m["map"]], m) for m in rows.to_dict("records")]}
                    for name, rows in by_class
                ],
                "panels": panels,
                "empty": empty,
            }
        )
    return drawn


def _shown(image: np.ndarray, values: np.ndarray, about: dict[str, Any]) -> dict[str, Any]:
    """A map with its explainer: `name`, `title`, `map` (None where it must not be shown) and the `note` under it."""
    name = about["explainer"]
    details = {key: about[key] for key in DETAILS if pd.notna(about.get(key))}
    if name == "lime":
        details["local_r2"] = about["local_r2"]  # may be NaN, which the note explains
    empty_class = about.get("empty_class")
    return {
        "name": name,
        "title": TITLES[name],
        "map": map_uri(image, values) if sound(details) else None,
        "note": note(details, bool(about["all_zero"]), name, empty_class if pd.notna(empty_class) else ""),
    }


def _probabilities(study: Study, row: int) -> list[dict[str, Any]]:
    """The most probable classes of a test image, and the true one."""
    about = study.predictions.iloc[row]
    p = {name: float(about[f"p({name})"]) for name in study.model["classes"]}
    likeliest = sorted(p, key=lambda name: -p[name])[:PROBABLE]
    if about["true_class"] not in likeliest:
        likeliest[-1] = about["true_class"]
    return [
        {"class": name, "p": p[name], "guess": name == about["predicted_class"], "truth": name == about["true_class"]}
        for name in likeliest
    ]


def _panels(study: Study, row: int, image: np.ndarray) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    """Shapley values of an image for many classes, on one scale, and the prediction with every region hidden,
    `class` and `p`; none where there are no such maps."""
    part = None if study.panels is None else study.panels[study.panels["image"] == row]
    if part is None or part.empty:
        return [], None
    maps = study.arrays["panels"]
    largest = float(np.abs(maps[part["map"]]).max())
    panels = []
    for panel in part.to_dict("records"):
        shown = panel["shown"]
        text = equation(*(panel[name] for name in analyses.SUM)) if shown else note(panel, False, "kernel_shap")
        values = map_uri(image, maps[panel["map"]], largest) if shown else None
        panels.append({"class": panel["explained_class"], "map": values, "note": text})
    return panels, {"class": part["empty_class"].iloc[0], "p": float(part["empty_probability"].iloc[0])}


def matrix(study: Study, images: Any) -> list[dict[str, Any]]:
    """The confusion matrix: a row for each true class with its `name` and `cells`, each with its `column`, `guess`,
    `count`, `share` of the row, and some of its `images`: the most confident mistakes, the least confident recognised
    ones."""
    classes = study.classes
    explained = set(study.index.loc[study.index["drawn"], "image"])
    table = study.predictions.sort_values("confidence", kind="stable")
    by_cell = dict(tuple(table.groupby(["true_class", "predicted_class"])))
    rows = []
    for truth in classes:
        parts = [by_cell.get((truth, guess), table.iloc[:0]) for guess in classes]
        total = max(1, sum(map(len, parts)))
        cells = []
        for column, (guess, part) in enumerate(zip(classes, parts, strict=True)):
            some = part if truth == guess else part.iloc[::-1]
            shown = [
                {
                    "row": int(p.image),
                    "image": uri(images[p.image], THUMBNAIL),
                    "confidence": p.confidence,
                    "explained": p.image in explained,
                }
                for p in some.head(OF_A_CELL).itertuples()
            ]
            about = {"guess": guess, "column": column, "count": len(part), "share": len(part) / total}
            cells.append(about | {"images": shown})
        rows.append({"name": truth, "cells": cells})
    return rows
