"""What the study's summary, its row in MLflow and the tables of its page hold."""

from typing import Any

import pandas as pd

from glassbox.evaluation import chance_level
from glassbox.explainers.catalog import CONTROLLED, EXPLAINER, MATCHED, title_of
from glassbox.report import card as cards
from glassbox.report import words
from glassbox.report.study import Study
from glassbox.scoring import summary_metrics as scores
from glassbox.scoring import verdicts
from glassbox.xai_metrics.catalog import MEASUREMENTS

ARROWS = {"higher is better": " ↑", "lower is better": " ↓", "unranked": ""}


def summary(study: Study) -> dict[str, Any]:
    """The metrics of DVC's tables: small enough for git, and the same bytes whenever the results are the same."""
    shares = ("accuracy", "accuracy_low", "accuracy_high", "balanced_accuracy", "majority_share")
    return {f"test_{name}": study.metrics[name] for name in (*shares, "macro_f1", "ece", "log_loss")} | {
        "against_majority": study.metrics["against_majority"],
        "best_epoch": study.training["best_epoch"],
        "best_explainer": study.best_explainer,
    }


def headline(study: Study) -> dict[str, float]:
    """The metrics of the study's row in MLflow."""
    names = {f"{name}{end}" for name in ("accuracy", "balanced_accuracy") for end in ("", "_low", "_high")}
    names |= {f"{name}{which}" for name in ("log_loss", "brier", "ece") for which in ("", "_as_trained")}
    names |= {"majority_share", "macro_precision", "macro_recall", "macro_f1"}
    row = {f"test_{name}": value for name, value in chance_level.numbers(study.metrics).items() if name in names}
    row |= {f"test_{name}_percent": value for name, value in errors(study.metrics).items()}
    row["best_epoch"] = study.training["best_epoch"]
    row["temperature"] = study.calibration["temperature"]
    if study.ranking is not None:
        row |= {
            f"controls_{outcome}/{name}": n
            for name, counts in verdicts.counts(study.ranking).items()
            for outcome, n in counts.items()
        }
    for name in ("augmented_accuracy", "mirrored_accuracy"):
        if name in study.metrics:
            row[f"test_{name}"] = study.metrics[name]
    if study.search["trials"]:
        row[f"best_{study.search['measure']}"] = study.search["value"]
    local_r2 = study.index["local_r2"].dropna() if "local_r2" in study.index else ()  # of LIME's maps
    if len(local_r2):
        row |= {"local_r2/lime": local_r2.mean(), "local_r2_maps/lime": len(local_r2)}
    stability = stability_of_the_study(study)
    if stability is not None and stability["images"]:
        row |= {f"{name}/lime": stability[name] for name in ("rank_agreement", "top_overlap")}
    if study.audit is not None:
        row |= {"shortcuts_confirmed": study.audit["confirmed"], "shortcut_candidates": study.audit["candidates"]}
    if study.repair is not None:
        row |= study.repair["headline"]
    if study.scorecard is None:
        return row
    return row | scores.flat(scores.headline(study.scorecard)) | scores.strongest_controls(study.scorecard)


def errors(metrics: dict[str, Any]) -> dict[str, float]:
    """Errors in %, whose bars show differences that those of accuracies near 100 % do not."""
    return {
        "error": 100 * (1 - metrics["accuracy"]),
        "balanced_error": 100 * (1 - metrics["balanced_accuracy"]),
        "ece": 100 * metrics["ece"],
    }


def stability_of_the_study(study: Study) -> dict[str, float] | None:
    """LIME's stability at the number of samples nearest to the study's own: means over the `images` whose probability
    varies near the image; LIME has no weights for the others. None where it was not measured."""
    if study.stability is None:
        return None
    by_samples = study.stability.groupby("samples", as_index=False)
    means = by_samples.mean().assign(images=by_samples["rank_agreement"].count()["rank_agreement"])
    nearest = (means["samples"] - study.params.explain.lime.samples).abs().idxmin()
    return means.loc[nearest].to_dict()


def explainer_table(study: Study) -> list[dict[str, Any]]:
    """One row for each explainer and control: title, whether it is a control, mean and interval by each metric (with
    its ranking setting) as text, the outcome of eMPRT, constant maps, and the cost of a map. `matched` holds the scores
    at the common number of forward passes, measured for explainers without gradients if there are at least two."""
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
            } | means(part)
            alike = card[card["ranks"] & (card["kind"] == MATCHED) & (card["explainer"] == name)]
            if kind == EXPLAINER and len(alike):
                row["matched"] = {"forward_passes": spent[MATCHED, name, "forward_passes"]} | means(alike)
            rows.append(row)
    return rows


def means(part: pd.DataFrame) -> dict[str, str]:
    """Mean and interval of a subject as text, by metric, from its rows of `scorecard.summarise`; images too few for an
    interval have none."""
    shown = {}
    for row in part.itertuples():
        interval = f" [{row.low:.3f}, {row.high:.3f}]" if row.low == row.low else ""
        shown[row.metric] = f"{row.mean:.3f}{interval}" if row.n else ""
    return shown


def description(study: Study, study_digest: str) -> str:
    """The study in a few lines of Markdown, which MLflow shows above its row's parameters and metrics."""
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


def of_version(study: Study) -> str:
    """The description of the model's version in MLflow's registry, Markdown: its accuracies, then the model card."""
    m, validated = study.metrics, words.percent(study.training["best_epoch_validation_accuracy"])
    accuracies = (
        f"Test accuracy **{words.percent(m['accuracy'])}** ({study.accuracy_ends}, n = {m['images']:,}); validation "
        f"accuracy {validated}."
    )
    return f"{accuracies}\n\n{cards.card(study)}"


def columns(study: Study) -> dict[str, dict[str, str]]:
    """Titles of the metrics that were measured, with an arrow to better: those "against the controls" (faithfulness and
    localization, or plausibility, which is not tested), and "further" ones."""
    titles: dict[str, dict[str, str]] = {"against the controls": {}, "further": {}}
    if study.scorecard is not None:
        rows = study.scorecard[study.scorecard["ranks"] & (study.scorecard["n"] > 0)].drop_duplicates("metric")
        for row in rows.itertuples():
            is_overview = row.property in ("faithfulness", "localization", verdicts.PLAUSIBILITY)
            kind = "against the controls" if is_overview else "further"
            titles[kind][row.metric] = titled(row)
    return titles


def titled(row: Any) -> str:
    """The title of the metric of such a row, with an arrow to better; plausibility has none."""
    if row.property == verdicts.PLAUSIBILITY:
        return f"{MEASUREMENTS[row.metric]} ({row.property})"
    return MEASUREMENTS[row.metric] + ARROWS[row.direction]
