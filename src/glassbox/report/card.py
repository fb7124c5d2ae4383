"""The model card (Mitchell et al. 2019), in Markdown: what a classifier is for, how well it does, and its limits."""

import re
from typing import Any

import pandas as pd

from glassbox.config.types import CNN
from glassbox.evaluation import chance_level
from glassbox.explainers.captions import on_squares
from glassbox.report import calibration
from glassbox.report.study import Study
from glassbox.report.words import macro_f1_ends, percent

FEW = 100  # test images of a class, below which its scores are said to be uncertain


def markdown(text: str) -> str:
    """Text that Markdown shows as it is: a class may be called *_a_* or <b>."""
    return re.sub(r"([\\`*_{}\[\]()<>#+!|~&-])", r"\\\1", text.replace("\n", " "))


def card(study: Study) -> str:
    """The card of a finished study's classifier; its headings are of the second level and below."""
    p, data, m = study.params, study.card, study.metrics
    level, fitted = f"{100 * p.evaluate.confidence:g} %", study.calibration
    side, listed = data["image_size"], _listed(data["classes"])
    lines = [
        "## Model",
        "",
        f"`glassbox-{p.study.name}`: {_network(study)}, {study.model['parameters']['total']:,} parameters, trained for "
        f"{study.training['epochs']} epochs, of which epoch {study.training['best_epoch']} was kept. It takes RGB "
        f"images of any size as uint8, makes them {side} x {side} pixels and normalises their colours itself, and "
        "gives a class and a probability for each class.",
        "",
        "## Intended use",
        "",
        f"To tell {len(data['classes'])} classes apart ({listed}) in images like those of its data, and to study how "
        "its decisions are explained. It always answers with one of these classes, whatever an image shows. It is no "
        "basis for decisions about people, nor for any on which safety depends: nobody has tested it for that.",
        "",
        "## Data",
        "",
        f"Source `{data['source']}`: {_sizes(data['sizes'])} images; {_duplicates(data['duplicates'])} "
        f"SHA-256 of images and labels `{data['digest'][:16]}`.",
        "",
        "## Metrics",
        "",
        f"On {m['images']:,} test images, at which nothing looked before the end: accuracy {percent(m['accuracy'])} "
        f"({level} interval {percent(m['accuracy_low'])} to {percent(m['accuracy_high'])}), balanced accuracy "
        f"{markdown(chance_level.balanced(m))}, macro F1 {m['macro_f1']:.3f} "
        f"({markdown(macro_f1_ends(m, level))}), Brier score {calibration.both(m, 'brier', fitted)}; {m['mistakes']} "
        f"mistakes. {markdown(chance_level.sentence(m))}",
        "",
        f"Of each class, with {level} intervals:",
        "",
        "| class | precision | recall | F1 | images |",
        "| :--- | ---: | ---: | ---: | ---: |",
        *(_row(row) for row in study.report.iloc[:-1].to_dict("records")),
        "",
        "## Calibration",
        "",
        " ".join(calibration.sentences(m, fitted, p.evaluate.calibration_bins)),
        "",
        "## Reliability of its explanations",
        "",
        *(f"- {markdown(sentence)}" for sentence in study.verdicts),
        "",
        "## Limits",
        "",
        *(f"- {markdown(sentence)}" for sentence in limits(study)),
    ]
    return "\n".join(lines) + "\n"


def limits(study: Study) -> list[str]:
    """What the study cannot tell, in sentences with its numbers."""
    data, rows = study.card, study.report.iloc[:-1]
    worst = rows.sort_values("recall", kind="stable").iloc[0]
    said = [
        "Its intervals are over test images. Of another training, with another seed, they say nothing: this is one.",
        f"It does worst on {worst['class']}: {percent(worst['recall'])} of its {int(worst['support'])} test images "
        f"are recognised (interval {percent(worst['recall_low'])} to {percent(worst['recall_high'])}).",
    ]
    if data["groups"]:
        said.append(
            f"Its intervals treat images as independent, but the {data['sizes']['test']:,} test images come in "
            f"{data['groups']['by_split']['test']:,} groups: they are too narrow where images of a group are alike."
        )
    pair = study.pairs.iloc[0] if len(study.pairs) else None
    if pair is not None and pair["a_as_b"] + pair["b_as_a"]:
        said.append(
            f"It confuses {pair['a_class']} and {pair['b_class']} most: {pair['a_as_b']} times as the second, "
            f"{pair['b_as_a']} times as the first."
        )
    few = rows[rows["support"] < FEW]
    if len(few):
        said.append(
            f"{len(few)} of {len(rows)} classes have fewer than {FEW} test images each, so that their own scores are "
            "uncertain."
        )
    shared = data["duplicates"]["also_in_another_split"].get("test", 0)
    if shared:
        said.append(f"{shared} test images occur in another split as well, and make it look better than it is.")
    said.append(
        f"Everything was measured on images of {data['source']}. On others, blurred, darker, or of something else, it "
        "may do much worse, and be no less sure."
    )
    if study.scorecard is None:
        said.append("Its explanations were not scored.")
    else:
        said.append(
            f"Explainers were scored on {_scored(study.scorecard)} images, for the predicted class. That an explainer "
            "is faithful on the whole does not make each of its maps so."
        )
    squares = study.index.loc[study.index["squares"], "image"].unique().tolist()
    said += on_squares(squares, study.n_explained)
    said += study.model["contradictions"]
    if not data["has_masks"]:
        said.append(
            "Nobody has marked where the evidence is: whether a map shows the right place, as opposed to the place "
            "that the model uses, is not known."
        )
    return said


def _network(study: Study) -> str:
    name = study.model["name"]
    return "a CNN of two convolutional blocks" if name == CNN else f"torchvision's {name}"


def _listed(names: list[str], most: int = 12) -> str:
    shown = ", ".join(markdown(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def _sizes(sizes: dict[str, int]) -> str:
    return ", ".join(f"{n:,} {split}" for split, n in sizes.items())


def _duplicates(found: dict[str, Any]) -> str:
    if not found["groups"]:
        return "none occurs twice."
    return f"{found['groups']} groups of identical ones, {found['dropped_from_training']} dropped from training for it."


def _row(row: dict[str, Any]) -> str:
    scores = (f"{row[s]:.3f} [{row[f'{s}_low']:.3f}, {row[f'{s}_high']:.3f}]" for s in ("precision", "recall", "f1"))
    return f"| {markdown(str(row['class']))} | {' | '.join(scores)} | {int(row['support'])} |"


def _scored(scorecard: pd.DataFrame) -> int:
    return int(scorecard[scorecard["ranks"]]["n"].max())
