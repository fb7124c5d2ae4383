"""The study on one HTML page that needs no network: everything on it is read from what the stages wrote."""

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from glassbox.config import yaml_file
from glassbox.evaluation import chance_level
from glassbox.explainers.captions import equation, note, sound
from glassbox.explainers.catalog import CONTROL, CONTROLS, TITLES, UNTRAINED, control_of
from glassbox.report import analyses, calibration
from glassbox.report.card import card
from glassbox.report.pictures import map_uri, uri
from glassbox.report.study import Study
from glassbox.report.words import macro_f1_ends, render
from glassbox.scoring import verdicts
from glassbox.xai_metrics import image_background
from glassbox.xai_metrics.catalog import MEASUREMENTS

SCRIPT = Path(__file__).parent / "page.js"
MOST_CLASSES = 30  # of a confusion matrix whose cells show their images
OF_A_CELL = 8  # images shown at most
THUMBNAIL = 48  # side in pixels
PROBABLE = 5  # classes whose probabilities stand beside an explained image
GROUPS = {  # of explained images
    "chosen": "Chosen by you",
    "correct": "Recognised",
    "mistake": "Mistaken",
    "pair": "Hard to tell apart",
}
DETAILS = ("local_r2", "additivity_error", "base_value", "empty_probability", "completeness_error")


def page(study: Study, images: np.ndarray, study_digest: str, **shown: Any) -> str:
    """The page.

    Args:
        study: a finished one.
        images: (N, H, W, 3) uint8, its test split.
        study_digest: of its state.
        shown: what else the page shows, by its name there.
    """
    from markdown_it import MarkdownIt

    folder = study.folder

    def picture(name: str) -> str:
        return "data:image/png;base64," + base64.b64encode((folder / name).read_bytes()).decode()

    n_classes = len(study.card["classes"])
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    return render(
        "page.html",
        study=study,
        study_digest=study_digest,
        script=SCRIPT.read_text(encoding="utf-8"),
        picture=picture,
        has=lambda name: (folder / name).exists(),
        cases=cases(study),
        groups=GROUPS,
        matrix=matrix(study, images) if n_classes <= MOST_CLASSES else None,
        model_card=markdown.render(card(study).replace("\n## ", "\n### ").replace("## Model", "### Model", 1)),
        told={
            "correct": analyses.recognised(study.index, study.recognised, study.analyst, study.ranking),
            "mistake": analyses.mistakes(
                study.mistakes, study.index, study.analyst, study.params.explain.analyses.hidden, n_classes
            ),
            "pair": analyses.pairs(study.confusable, study.analyst, n_classes),
        },
        baseline_note=baseline_note(study),
        probabilities=calibration.which(study.calibration),
        log_loss=calibration.both(study.metrics, "log_loss", study.calibration),
        brier=calibration.both(study.metrics, "brier", study.calibration),
        calibrated=calibration.sentences(study.metrics, study.calibration, study.params.evaluate.calibration_bins),
        analyst=TITLES[study.analyst],
        titles=MEASUREMENTS,
        standings=standings(study.ranking) if study.ranking else None,
        outcomes=outcomes(study.ranking) if study.ranking else {},
        names=TITLES,
        pair_pictures=sorted(
            path.relative_to(folder).as_posix() for path in (folder / "explain/analyses").glob("pair-*.png")
        ),
        parameters=yaml_file.flatten(study.params),
        dumps=json.dumps,
        against_majority=chance_level.sentence(study.metrics),
        balanced_ends=chance_level.ends(study.metrics),
        macro_f1_ends=macro_f1_ends(study.metrics, f"{100 * study.params.evaluate.confidence:g} %"),
        **shown,
    )


def standings(ranking: dict[str, Any]) -> dict[str, Any] | None:
    """By explainer and measure how many of its controls it is better than, worse than, or undecided against: `titles`
    of the measures with their images, and `rows`, each with a `title` and `cells`. None where nothing was compared."""
    tested = {metric: row["controls"] for metric, row in ranking["metrics"].items() if row["controls"]}
    titles = [f"{MEASUREMENTS[metric]} (n = {verdicts.sizes(tests)})" for metric, tests in tested.items()]
    rows = [
        {"title": TITLES[name], "cells": [by_metric.get(metric) for metric in tested]}
        for name, by_metric in verdicts.tally(ranking).items()
    ]
    return {"titles": titles, "rows": rows} if rows else None


def outcomes(ranking: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """By measure a matrix of explainers and controls: titles of the `columns`, and `rows`, each with a `title` and its
    tests as `cells`, None where there was none."""
    found = {}
    for metric, row in ranking["metrics"].items():
        tests = {(test["explainer"], control_of(test["control"])): test for test in row["controls"]}
        keys, names = [*CONTROLS, UNTRAINED], dict.fromkeys(name for name, _ in tests)
        rows = [{"title": TITLES[name], "cells": [tests.get((name, key)) for key in keys]} for name in names]
        found[metric] = {"columns": [*CONTROLS.values(), "itself untrained"], "rows": rows}
    return found


def baseline_note(study: Study) -> str:
    """What is to be known of Integrated Gradients' maps; see `baselines.note`."""
    how = study.params.explain
    if "integrated_gradients" not in how.explainers or study.ranking is None:
        return ""
    return image_background.note(how.integrated_gradients.baseline, study.ranking["baselines"])


def cases(study: Study) -> list[dict[str, Any]]:
    """The images that are drawn, in their order: each with its `row` in the test split, `group`, `truth`, `guess`,
    `file` or None, `image`, `probabilities` of the likeliest classes, `explained` (a row of maps a class) and `panels`
    (Shapley values of many classes)."""
    maps, images, wider = (study.arrays.get(name) for name in ("maps", "images", "panels"))
    found = []
    for row, part in study.index[study.index["drawn"]].groupby("image", sort=False):
        first = part.iloc[0]
        image = images[first["map"] % len(images)]
        explained = []
        for name, of_class in part[part["explainer"] != CONTROL].groupby("explained_class", sort=False):
            explained.append(
                {"class": name, "maps": [_shown(image, maps[m["map"]], m) for m in of_class.to_dict("records")]}
            )
        found.append(
            {
                "row": int(row),
                "group": first["group"],
                "truth": first["true_class"],
                "guess": first["predicted_class"],
                "file": first.get("file"),
                "image": uri(image),
                "probabilities": _probabilities(study, int(row)),
                "explained": explained,
                "panels": _panels(study, int(row), image, wider),
                "empty": _empty(study, int(row)),
            }
        )
    return found


def _shown(image: np.ndarray, values: np.ndarray, about: dict[str, Any]) -> dict[str, Any]:
    """A map of an explainer: `title`, `map` (None where it must not be shown) and the `note` under it."""
    details = {name: about[name] for name in DETAILS if pd.notna(about.get(name))}
    if about["explainer"] == "lime":
        details["local_r2"] = about["local_r2"]  # NaN where there is none, which is said
    empty_class = about.get("empty_class")
    return {
        "name": about["explainer"],
        "title": TITLES[about["explainer"]],
        "map": map_uri(image, values) if sound(details) else None,
        "note": note(
            details, bool(about["all_zero"]), about["explainer"], empty_class if pd.notna(empty_class) else ""
        ),
    }


def _probabilities(study: Study, row: int) -> list[dict[str, Any]]:
    """The likeliest classes of a test image, and the true one."""
    about = study.predictions.iloc[row]
    p = {name: float(about[f"p({name})"]) for name in study.card["classes"]}
    likeliest = sorted(p, key=lambda name: -p[name])[:PROBABLE]
    if about["true_class"] not in likeliest:
        likeliest[-1] = about["true_class"]
    return [
        {"class": name, "p": p[name], "guess": name == about["predicted_class"], "truth": name == about["true_class"]}
        for name in likeliest
    ]


def _panels(study: Study, row: int, image: np.ndarray, maps: np.ndarray | None) -> list[dict[str, Any]]:
    """Shapley values of an image for many classes, on one scale."""
    if study.panels is None:
        return []
    part = study.panels[study.panels["image"] == row]
    largest = float(np.abs(maps[part["map"]]).max()) if len(part) else 0.0
    return [
        {
            "class": p["explained_class"],
            "map": map_uri(image, maps[p["map"]], largest) if p["shown"] else None,
            "note": equation(*(p[name] for name in analyses.SUM))
            if p["shown"]
            else note(p, zero=False, explainer="kernel_shap"),
        }
        for p in part.to_dict("records")
    ]


def _empty(study: Study, row: int) -> dict[str, Any] | None:
    """What the network says of an image with every region hidden: `class` and `p`; None without panels."""
    part = None if study.panels is None else study.panels[study.panels["image"] == row]
    if part is None or part.empty:
        return None
    return {"class": part["empty_class"].iloc[0], "p": float(part["empty_probability"].iloc[0])}


def matrix(study: Study, images: np.ndarray) -> list[dict[str, Any]]:
    """The confusion matrix: a row for each true class with its `name` and `cells`, each with its `column`, `guess`,
    `count`, `share` of the row, and some of its `images`: of mistakes the surest, of what was recognised the least
    sure."""
    classes = study.card["classes"]
    explained = set(study.index.loc[study.index["drawn"], "image"])
    table = study.predictions.sort_values("confidence", kind="stable")
    by = dict(tuple(table.groupby(["true_class", "predicted_class"])))
    rows = []
    for truth in classes:
        total = max(1, sum(len(by.get((truth, guess), ())) for guess in classes))
        cells = []
        for column, guess in enumerate(classes):
            part = by.get((truth, guess), table.iloc[:0])
            some = part.head(OF_A_CELL) if truth == guess else part.iloc[::-1].head(OF_A_CELL)
            shown = [
                {
                    "row": int(p.image),
                    "image": uri(images[p.image], THUMBNAIL),
                    "confidence": p.confidence,
                    "explained": p.image in explained,
                }
                for p in some.itertuples()
            ]
            about = {"guess": guess, "column": column, "count": len(part), "share": len(part) / total}
            cells.append(about | {"images": shown})
        rows.append({"name": truth, "cells": cells})
    return rows
