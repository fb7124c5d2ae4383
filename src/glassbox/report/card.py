"""The model card (Mitchell et al. 2019) in Markdown: intended use, metrics and limits of a classifier."""

import re
from typing import Any

from glassbox.config.types import CNN
from glassbox.evaluation import chance_level
from glassbox.evaluation.findings import findings
from glassbox.explainers.captions import on_squares
from glassbox.report import calibration
from glassbox.report.study import Study
from glassbox.report.words import macro_f1_ends, percent

FEW = 100  # test images of a class, below which the card calls its scores uncertain

HELD_OUT = (
    "Nothing was trained on them: explainers take backgrounds and the mean colour from the held-out images (the split "
    "that files call train), and the temperature comes from the validation images."
)


def markdown(text: str) -> str:
    """Text with Markdown's special characters escaped: a class may be called *_a_* or <b>."""
    return re.sub(r"([\\`*_{}\[\]()<>#+!|~&-])", r"\\\1", text.replace("\n", " "))


def card(study: Study) -> str:
    """The card of a finished study's classifier; its headings start at the second level."""
    p, data, m = study.params, study.card, study.metrics
    level, fitted = f"{100 * p.evaluate.confidence:g} %", study.calibration
    side = data["image_size"]
    sizes = ", ".join(f"{n:,} {split}" for split, n in study.sizes.items())
    unused = ", not used before this evaluation" if study.training["epochs"] else ""
    total = study.model["parameters"]["total"]
    parameters = f"{total:,} parameters" if total else "parameters that are not counted"
    lines = [
        "## Model",
        "",
        f"`glassbox-{p.study.name}`: {network_in_words(study.model['name'])}, "
        f"{parameters}, {origin(study)}. Its input is RGB images of any size as "
        f"uint8, which it resizes to {side} x {side} pixels and normalises; its output is the predicted class and a "
        "probability for each class.",
        "",
        "## Intended use",
        "",
        _use(data["classes"]),
        "",
        "## Data",
        "",
        f"Source `{data['source']}`: {sizes} images; {_duplicates(data['duplicates'])} "
        f"SHA-256 of images and labels: `{data['digest'][:16]}`."
        + ("" if study.training["epochs"] else f" {HELD_OUT}"),
        "",
        "## Metrics",
        "",
        f"On {m['images']:,} test images{unused}: accuracy {percent(m['accuracy'])} "
        f"({level} interval {percent(m['accuracy_low'])} to {percent(m['accuracy_high'])}), balanced accuracy "
        f"{markdown(chance_level.balanced(m))}, macro F1 {m['macro_f1']:.3f} "
        f"({markdown(macro_f1_ends(m, level))}), Brier score {calibration.both(m, 'brier', fitted)}; {m['mistakes']} "
        f"mistakes. {markdown(chance_level.sentence(m))}",
        "",
        f"By class, with {level} intervals:",
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


def use_and_limits(study: Study) -> str:
    """Two sections of the card, with headings of the third level."""
    lines = ["### Intended use", "", _use(study.card["classes"]), "", "### Limits", ""]
    return "\n".join(lines + [f"- {markdown(sentence)}" for sentence in limits(study)]) + "\n"


def _use(classes: list[str]) -> str:
    return (
        f"To classify images like those of its data into {len(classes)} classes ({_listed(classes)}), and to study "
        "explanations of its predictions. It predicts one of these classes whatever an image shows. It must not be "
        "used for decisions about people or decisions that affect safety: it was not tested for them."
    )


def origin(study: Study) -> str:
    """Where the network's weights come from."""
    training, model = study.training, study.model
    if training["epochs"]:
        return f"trained for {training['epochs']} epochs; the weights of epoch {training['best_epoch']} were kept"
    digest = f" (SHA-256 {model['weights_digest']})" if model["weights_digest"] else ""
    return f"taken as it is, with the weights {model['weights']}{digest}: nothing was trained"


def limits(study: Study) -> list[str]:
    """Limits of the classifier and of what was measured, in sentences."""
    data, rows = study.card, study.report.iloc[:-1]
    rows = rows[rows["support"] > 0]  # a class that was predicted may have no images
    worst = rows.sort_values("recall", kind="stable").iloc[0]
    sentences = [
        *(found.note for found in findings(study.metrics)),
        "The intervals cover the choice of test images, not the variation between trainings: this is one training with "
        "one seed."
        if study.training["epochs"]
        else "The intervals cover the choice of test images. It is not known whether the network was trained on any of "
        "them.",
        f"Recall is lowest for {worst['class']}: {percent(worst['recall'])} of its {int(worst['support'])} test images "
        f"are recognised (interval {percent(worst['recall_low'])} to {percent(worst['recall_high'])}).",
    ]
    if data["groups"]:
        sentences.append(
            f"The intervals treat images as independent, but the {data['sizes']['test']:,} test images come in "
            f"{data['groups']['by_split']['test']:,} groups: they are too narrow where images of a group are alike."
        )
    pair = study.pairs.iloc[0] if len(study.pairs) else None
    if pair is not None and pair["a_as_b"] + pair["b_as_a"]:
        sentences.append(
            f"The most confused classes are {pair['a_class']} and {pair['b_class']}: {pair['a_as_b']} images of the "
            f"first are taken for the second, {pair['b_as_a']} of the second for the first."
        )
    few = rows[rows["support"] < FEW]
    if len(few):
        sentences.append(
            f"{len(few)} of {len(rows)} classes have fewer than {FEW} test images each: their scores are uncertain."
        )
    sentences += study.audit["sentences"] if study.audit else []
    shared = data["duplicates"]["also_in_another_split"].get("test", 0)
    if shared:
        sentences.append(f"{shared} test images also occur in another split, which makes the scores too good.")
    sentences.append(
        f"Everything was measured on images of {data['source']}. On other images, such as blurred or darker ones or "
        "other subjects, the model may do much worse with the same confidence."
    )
    if study.scorecard is None:
        sentences.append("Its explanations were not scored.")
    else:
        scored = int(study.scorecard[study.scorecard["ranks"]]["n"].max())
        sentences.append(
            f"Explainers were scored on {scored} images, for the predicted class. An explainer that is faithful on "
            "average may still give an unfaithful map."
        )
    squares = study.index.loc[study.index["squares"], "image"].unique().tolist()
    sentences += on_squares(squares, study.n_explained)
    sentences += study.model["contradictions"]
    if study.plausible:
        sentences.append(
            "It is not shown that the model uses what the masks mark: agreement with them is plausibility. Whether a "
            "map shows the place that the model uses is not known."
        )
    if not data["has_masks"]:
        sentences.append(
            "There are no masks of the evidence: whether a map shows the right place, as opposed to the place that the "
            "model uses, is not known."
        )
    return sentences


def network_in_words(name: str) -> str:
    """`model.name` for a sentence."""
    return {CNN: "a CNN of two convolutional blocks", "fast_cnn": "a CNN of few wide convolutions"}.get(name, name)


def _listed(names: list[str], most: int = 12) -> str:
    shown = ", ".join(markdown(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def _duplicates(counts: dict[str, Any]) -> str:
    if not counts["groups"]:
        return "none occurs twice."
    return f"{counts['groups']} groups of identical images, {counts['dropped_from_training']} dropped from training."


def _row(row: dict[str, Any]) -> str:
    scores = (f"{row[s]:.3f} [{row[f'{s}_low']:.3f}, {row[f'{s}_high']:.3f}]" for s in ("precision", "recall", "f1"))
    return f"| {markdown(str(row['class']))} | {' | '.join(scores)} | {int(row['support'])} |"
