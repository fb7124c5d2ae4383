"""The study on one page, and in one small file: read from what the stages wrote, nothing is computed again."""

from typing import Any

import numpy as np
import pandas as pd

from glassbox.evaluation import chance_level
from glassbox.explainers.catalog import CONTROLLED, EXPLAINER, MATCHED, title_of
from glassbox.report import card as cards
from glassbox.report import hypotheses, words
from glassbox.report.study import Study
from glassbox.scoring import summary_metrics as scores
from glassbox.scoring import verdicts
from glassbox.xai_metrics.catalog import MEASUREMENTS


def summary(study: Study) -> dict[str, Any]:
    """What studies are compared by at first sight, the metrics of DVC's own tables: small enough for git, and the same
    bytes whenever the results are the same."""
    names = (
        "accuracy",
        "accuracy_low",
        "accuracy_high",
        "balanced_accuracy",
        "majority_share",
        "macro_f1",
        "ece",
        "log_loss",
    )
    found = {f"test_{name}": study.metrics[name] for name in names}
    found["against_majority"] = study.metrics["against_majority"]
    return found | {"best_epoch": study.training["best_epoch"], "best_explainer": study.best_explainer}


def headline(study: Study) -> dict[str, float]:
    """The metrics of the study's row in MLflow."""
    names = (
        "accuracy",
        "accuracy_low",
        "accuracy_high",
        "balanced_accuracy",
        "balanced_accuracy_low",
        "balanced_accuracy_high",
        "majority_share",
        "macro_precision",
        "macro_recall",
        "macro_f1",
        "log_loss",
        "brier",
        "ece",
        "log_loss_as_trained",
        "brier_as_trained",
        "ece_as_trained",
    )
    row = {f"test_{name}": value for name, value in chance_level.numbers(study.metrics).items() if name in names}
    row["best_epoch"] = study.training["best_epoch"]
    row["temperature"] = study.calibration["temperature"]
    if study.ranking is not None:
        row |= {
            f"controls_{outcome}/{name}": n
            for name, counts in verdicts.counts(study.ranking).items()
            for outcome, n in counts.items()
        }
    if "augmented_accuracy" in study.metrics:
        row["test_augmented_accuracy"] = study.metrics["augmented_accuracy"]
    if study.search["trials"]:
        row[f"best_{study.judged_by}"] = study.search[study.judged_by]
    known = study.index["local_r2"].dropna() if "local_r2" in study.index else ()  # of LIME's maps
    if len(known):
        row |= {"local_r2/lime": known.mean(), "local_r2_maps/lime": len(known)}
    used = stability_of_the_study(study)
    if used is not None and used["images"]:
        row |= {f"{name}/lime": used[name] for name in ("rank_agreement", "top_overlap")}
    return row if study.scorecard is None else row | scores.flat(scores.headline(study.scorecard))


def hypotheses_of(study: Study) -> list[dict[str, Any]]:
    """The ResNet-50 paper's hypotheses, checked on this study."""
    return hypotheses.check(
        study.metrics,
        study.params.evaluate.target_accuracy,
        study.index,
        study.panels,
        study.recognised,
        study.mistakes,
        study.analyst,
        study.params.study.seed,
        study.card["has_masks"],
        study.ranking,
    )


def stability_of_the_study(study: Study) -> dict[str, float] | None:
    """LIME's stability at the number of samples nearest to the one that the study takes: means over the `images` whose
    probability varies near the image, the only ones that have weights."""
    if study.stability is None:
        return None
    by = study.stability.groupby("samples", as_index=False)
    means = by.mean().assign(images=by["rank_agreement"].count()["rank_agreement"])
    nearest = (means["samples"] - study.params.explain.lime.samples).abs().idxmin()
    return means.loc[nearest].to_dict()


def explainer_table(study: Study) -> list[dict[str, Any]]:
    """One row for each explainer and control: title, whether it is a control, for each metric the setting that ranks as
    text, mean and interval; the outcome of eMPRT; constant maps; and what a map costs. Explainers that only ask the
    model have `matched`, the same at the common number of forward passes, if there are at least two of them."""
    card = study.scorecard
    if card is None:
        return []
    passed, constant, rows = study.ranking["emprt"], study.ranking["constant_maps"], []
    spent = {(row.kind, row.explainer, row.metric): row.mean for row in card[card["property"] == "cost"].itertuples()}
    for (kind, name), part in card[card["ranks"]].groupby(["kind", "explainer"], sort=False):
        if kind in (EXPLAINER, CONTROLLED):
            row = {
                "name": name,
                "title": title_of(name),
                "control": kind == CONTROLLED,
                "milliseconds": study.costs[kind][name]["milliseconds"],
                "peak_memory": study.costs[kind][name]["peak_memory"],
                **{cost: spent[kind, name, cost] for cost in ("forward_passes", "backward_passes")},
                "emprt_outcome": verdicts.EMPRT_WORDS[passed[name]["outcome"]] if name in passed else "",
                "constant_maps": "{constant} of {images}".format(**constant[name]),
                "matched": None,
            } | _scores(part)
            alike = card[card["ranks"] & (card["kind"] == MATCHED) & (card["explainer"] == name)]
            if kind == EXPLAINER and len(alike):
                row["matched"] = {"forward_passes": spent[MATCHED, name, "forward_passes"]} | _scores(alike)
            rows.append(row)
    return rows


def _scores(part: pd.DataFrame) -> dict[str, str]:
    """Mean and interval as text, by metric; images too few for an interval have none."""
    shown = {}
    for row in part.itertuples():
        interval = f" [{row.low:.3f}, {row.high:.3f}]" if row.low == row.low else ""
        shown[row.metric] = f"{row.mean:.3f}{interval}" if row.n else ""
    return shown


def description(study: Study, study_digest: str) -> str:
    """The study in a few lines of Markdown: what MLflow shows above its row's parameters and metrics.

    Args:
        study: a finished one.
        study_digest: of its state.
    """
    m, level = study.metrics, f"{100 * study.params.evaluate.confidence:g} %"
    low, high = 100 * m["accuracy_low"], 100 * m["accuracy_high"]
    lines = [
        f"**{study.params.study.name}**: test accuracy **{100 * m['accuracy']:.2f} %** ({level} interval {low:.2f} to "
        f"{high:.2f}), balanced accuracy {cards.markdown(chance_level.balanced(m))}, macro F1 {m['macro_f1']:.3f}. "
        f"{cards.markdown(chance_level.sentence(m))} The whole report is the artifact `index.html`.",
        "",
        *(f"- {sentence}" for sentence in study.verdicts),
        "",
        "![Confusion matrix](artifact:evaluate/confusion_matrix.png)",
        *(["![Scorecard](artifact:score/scorecard.png)"] if study.scorecard is not None else []),
        "",
        f"Do it again: `make verify RUN={study_digest[:9]}` in the repository, or `git checkout` the commit of the tag "
        "`git_commit` and `dvc repro`.",
        "",
        "| hyperparameter | value | from |",
        "| --- | --- | --- |",
    ]
    used = [choice for choice in study.model["choices"] if choice["value"] is not None]
    return "\n".join(lines + [f"| {c['key']} | {words.short(c['value'])} | {c['source']} |" for c in used])


def columns(study: Study) -> dict[str, dict[str, str]]:
    """Titles of the metrics that were measured, with the way that is better: those "against the controls", faithfulness
    and localization, and "further" ones."""
    found: dict[str, dict[str, str]] = {"against the controls": {}, "further": {}}
    if study.scorecard is not None:
        arrows = {"higher is better": " ↑", "lower is better": " ↓", "unranked": ""}
        rows = study.scorecard[study.scorecard["ranks"] & (study.scorecard["n"] > 0)].drop_duplicates("metric")
        for row in rows.itertuples():
            kind = "against the controls" if row.property in ("faithfulness", "localization") else "further"
            found[kind][row.metric] = MEASUREMENTS[row.metric] + arrows[row.direction]
    return found


def browsable(study: Study) -> list[tuple[str, int, bytes]]:
    """The explanations that MLflow shows step by step; see `pictures.browsable`."""
    from glassbox.report import pictures

    return list(pictures.browsable(study.index, study.arrays["maps"], study.arrays["images"]))


def index_page(study: Study, images: np.ndarray, study_digest: str) -> str:
    """The whole study as one HTML file that needs no network.

    Args:
        study: a finished one.
        images: (N, H, W, 3) uint8, its test split.
        study_digest: of its state.
    """
    from glassbox.report import page  # matplotlib's colours take half a second, and a summary does without

    return page.page(
        study,
        images,
        study_digest,
        explainers=explainer_table(study),
        columns=columns(study),
        used=stability_of_the_study(study),
        hypotheses=hypotheses_of(study),
        sentence=hypotheses.sentence,
        machine=study.machine,
    )
