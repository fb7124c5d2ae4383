"""The study on one HTML page that needs no network. Nothing is computed again but the hypotheses' checks."""

import json
from typing import Any

from glassbox.config import yaml_file
from glassbox.evaluation import chance_level
from glassbox.explainers.catalog import CONTROLS, TITLES, UNTRAINED, control_of
from glassbox.report import analyses, calibration, first_screen, glossary, hypotheses, score_table
from glassbox.report import contents as summaries
from glassbox.report.card import network_in_words, origin, use_and_limits
from glassbox.report.cases import GROUPS, cases, scored_cases
from glassbox.report.pictures import png_uri, uri
from glassbox.report.study import Study
from glassbox.report.words import macro_f1_ends, render, scripts
from glassbox.xai_metrics import image_background
from glassbox.xai_metrics.catalog import MEASUREMENTS

MOST_CLASSES = 30  # of a confusion matrix whose cells show their images
OF_A_CELL = 8  # images of a cell, at most
THUMBNAIL = 48  # side in pixels


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
    network, shown = network_in_words(study.model["name"]), cases(study)
    shown += scored_cases(study, images, {case["row"] for case in shown})
    explained = {case["row"] for case in shown}
    return render(
        "page.html",
        study=study,
        network=network[0].upper() + network[1:] if network.startswith("a ") else network,
        study_digest=study_digest,
        script=scripts("page.js", "explorer.js"),
        picture=picture,
        has=lambda name: (folder / name).exists(),
        cases=shown,
        answers=first_screen.answers(study),
        tiles=first_screen.tiles(study),
        first=first_screen.picture(study, shown),
        term=glossary.term,
        entries=glossary.entries(),
        groups=GROUPS,
        matrix=matrix(study, images, explained) if len(classes) <= MOST_CLASSES else None,
        gallery=gallery(study, images, explained),
        use_and_limits=markdown.render(use_and_limits(study)),
        findings=findings,
        baseline_note=_baseline_note(study),
        log_loss=calibration.both(study.metrics, "log_loss", study.calibration),
        brier=calibration.both(study.metrics, "brier", study.calibration),
        calibrated=calibration.sentences(study.metrics, study.calibration, study.params.evaluate.calibration_bins),
        analyst=TITLES[study.analyst],
        titles=MEASUREMENTS,
        outcomes=outcomes(study.ranking) if study.ranking else {},
        names=TITLES,
        untrained=study.scorecard is not None and (study.scorecard["kind"] == UNTRAINED).any(),
        pair_pictures=sorted(path.relative_to(folder).as_posix() for path in pairs),
        parameters=yaml_file.flatten(study.params),
        dumps=json.dumps,
        against_majority=chance_level.sentence(study.metrics),
        origin=origin(study),
        macro_f1_ends=macro_f1_ends(study.metrics, f"{100 * study.params.evaluate.confidence:g} %"),
        explainers=score_table.rows(study),
        columns=score_table.columns(study),
        used=summaries.stability_of_the_study(study),
        hypotheses=hypotheses.check(study),
        sentence=hypotheses.sentence,
    )


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


def gallery(study: Study, images: Any, explained: set[int]) -> list[dict[str, Any]]:
    """The most confident mistakes: `row`, `image`, `truth`, `guess`, `confidence`, and whether the page has its
    explanation, which it has of the rows `explained`."""
    wrong = study.misclassified.sort_values("confidence", ascending=False, kind="stable")
    return [
        _thumbnail(p, images, explained) | {"truth": p.true_class, "guess": p.predicted_class}
        for p in wrong.head(study.params.evaluate.gallery).itertuples()
    ]


def _thumbnail(prediction: Any, images: Any, explained: set[int]) -> dict[str, Any]:
    """The image of a row of predictions.csv, small."""
    return {
        "row": int(prediction.image),
        "image": uri(images[prediction.image], THUMBNAIL),
        "confidence": prediction.confidence,
        "explained": prediction.image in explained,
    }


def matrix(study: Study, images: Any, explained: set[int]) -> list[dict[str, Any]]:
    """The confusion matrix: a row for each true class with its `name` and `cells`, each with its `column`, `guess`,
    `count`, `share` of the row, and some of its `images`: the most confident mistakes, the least confident recognised
    ones. The page has the explanations of the rows `explained`."""
    classes = study.classes
    table = study.predictions.sort_values("confidence", kind="stable")
    by_cell = dict(tuple(table.groupby(["true_class", "predicted_class"])))
    rows = []
    for truth in classes:
        parts = [by_cell.get((truth, guess), table.iloc[:0]) for guess in classes]
        total = max(1, sum(map(len, parts)))
        cells = []
        for column, (guess, part) in enumerate(zip(classes, parts, strict=True)):
            some = part if truth == guess else part.iloc[::-1]
            shown = [_thumbnail(p, images, explained) for p in some.head(OF_A_CELL).itertuples()]
            about = {"guess": guess, "column": column, "count": len(part), "share": len(part) / total}
            cells.append(about | {"images": shown})
        rows.append({"name": truth, "cells": cells})
    return rows
