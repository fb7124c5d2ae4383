"""The study on one page, and in one small file: read from what the stages wrote, nothing is computed again."""

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from glassbox import config, files
from glassbox import headline as scores
from glassbox.bootstrap import FEWEST
from glassbox.names import CONTROLLED, EXPLAINER, MATCHED, MEASUREMENTS, TITLES, analyst, title_of
from glassbox.report import analyses, hypotheses


@dataclass(frozen=True)
class Study:
    """Everything that the stages wrote.

    Attributes:
        params: the parameters.
        folder: reports/.
        card: of the data.
        search: outcome of the search.
        trials: one row a trial.
        model: the model's card.
        training: best epoch and its scores.
        curves: one row an epoch.
        metrics: on the test split.
        report: per class.
        pairs: most-confused pairs.
        index: one row a map.
        gate: whether the model uses what was planted, where something was.
        scorecard: one row for each explainer, metric and setting; None where the gate refused it.
        ranking: orders, tests and verdicts; None likewise.
        costs: of a map, by kind and explainer.
        shortcut: what a watermark does to predictions and maps, or None where the data have none.
        stability: one row for each image and number of samples of LIME, or None where it was not asked for.
        panels: one row for each of KernelSHAP's maps of many classes, or None where it was not asked for.
        recognised, mistakes, confusable: the three analyses.
    """

    params: config.Params
    folder: Path
    card: dict[str, Any]
    search: dict[str, Any]
    trials: pd.DataFrame
    model: dict[str, Any]
    training: dict[str, Any]
    curves: pd.DataFrame
    metrics: dict[str, Any]
    report: pd.DataFrame
    pairs: pd.DataFrame
    index: pd.DataFrame
    gate: dict[str, Any]
    scorecard: pd.DataFrame | None
    ranking: dict[str, Any] | None
    costs: dict[str, Any]
    shortcut: dict[str, Any] | None
    stability: pd.DataFrame | None
    panels: pd.DataFrame | None
    recognised: pd.DataFrame
    mistakes: pd.DataFrame
    confusable: pd.DataFrame

    @property
    def analyst(self) -> str:
        """The explainer whose maps the analyses show."""
        return analyst(self.params.explain.explainers)


def read(params: config.Params, reports: str | Path = "reports", model: str | Path = "models") -> Study:
    """Read a finished study.

    Raises:
        UserError: a file is missing or damaged; it is named.
    """
    folder = Path(reports)

    def optional(name: str) -> pd.DataFrame | None:
        return files.read_csv(folder / name) if (folder / name).exists() else None

    card, gate = (files.read_json(folder / name) for name in ("prepare/card.json", "score/gate.json"))
    return Study(
        params=params,
        folder=folder,
        card=card,
        search=files.read_json(folder / "tune/best.json"),
        trials=files.read_csv(folder / "tune/trials.csv"),
        model=files.read_json(Path(model) / "model.json"),
        training=files.read_json(folder / "train/metrics.json"),
        curves=files.read_csv(folder / "train/curves.csv"),
        metrics=files.read_json(folder / "evaluate/metrics.json"),
        report=files.read_csv(folder / "evaluate/classification_report.csv"),
        pairs=files.read_csv(folder / "evaluate/confused_pairs.csv"),
        index=files.read_csv(folder / "explain/index.csv"),
        gate=gate,
        scorecard=None if gate["refusal"] else files.read_csv(folder / "score/scorecard.csv"),
        ranking=None if gate["refusal"] else files.read_json(folder / "score/ranking.json"),
        costs=files.read_json(folder / "score" / files.TIMES),
        shortcut=files.read_json(folder / "score/shortcut.json") if (folder / "score/shortcut.json").exists() else None,
        stability=optional("explain/lime_stability.csv"),
        panels=optional("explain/panels.csv"),
        recognised=files.read_csv(folder / "explain/recognised.csv"),
        mistakes=files.read_csv(folder / "explain/mistakes.csv"),
        confusable=files.read_csv(folder / "explain/pairs.csv"),
    )


def summary(study: Study) -> dict[str, Any]:
    """The headline of a study: small enough for git, and the same bytes whenever the results are the same."""
    return {
        "test": study.metrics,
        "train": study.training,
        "tune": {key: study.search[key] for key in ("validation_accuracy", "trials", "epochs")},
        "score": _headline(study),
    }


def _headline(study: Study) -> dict[str, dict[str, float]]:
    return {} if study.scorecard is None else scores.headline(study.scorecard)


def headline(study: Study) -> dict[str, float]:
    """The metrics of the study's row in MLflow."""
    names = ("accuracy", "accuracy_low", "accuracy_high", "macro_precision", "macro_recall", "macro_f1", "log_loss",
             "brier", "ece", "calibrated_ece")  # fmt: skip
    row = {f"test_{name}": study.metrics[name] for name in names} | {"best_epoch": study.training["best_epoch"]}
    if "augmented_accuracy" in study.metrics:
        row["test_augmented_accuracy"] = study.metrics["augmented_accuracy"]
    if study.search["trials"]:
        row["best_validation_accuracy"] = study.search["validation_accuracy"]
    if "local_r2" in study.index:  # LIME's
        row["local_r2/lime"] = study.index["local_r2"].mean()
    used = stability_of_the_study(study)
    if used is not None:
        row |= {f"{name}/lime": used[name] for name in ("rank_agreement", "top_overlap")}
    return row | scores.flat(_headline(study))


def hypotheses_of(study: Study) -> list[dict[str, Any]]:
    """The ResNet-50 paper's hypotheses, checked on this study."""
    return hypotheses.check(
        study.metrics, study.params.evaluate.target_accuracy, study.index, study.panels, study.recognised,
        study.mistakes, study.analyst, study.params.study.seed, study.card["has_masks"],
    )  # fmt: skip


def stability_of_the_study(study: Study) -> dict[str, float] | None:
    """LIME's stability, a mean over images, at the number of samples nearest to the one that the study takes."""
    if study.stability is None:
        return None
    means = study.stability.groupby("samples", as_index=False).mean()
    nearest = (means["samples"] - study.params.explain.lime.samples).abs().idxmin()
    return means.loc[nearest].to_dict()


def explainer_table(study: Study) -> list[dict[str, Any]]:
    """One row for each explainer and control: title, whether it is a control, for each metric the setting that ranks as
    text, mean and interval; whether it passes eMPRT; and what a map costs. Explainers that only ask the model have
    `matched`, the same at the common number of evaluations."""
    card = study.scorecard
    if card is None:
        return []
    passed, rows = study.ranking["emprt"], []
    spent = card[card["metric"] == "model_evaluations"].set_index(["kind", "explainer"])["mean"]
    for (kind, name), part in card[card["ranks"]].groupby(["kind", "explainer"], sort=False):
        if kind in (EXPLAINER, CONTROLLED):
            row = {"name": name, "title": title_of(name), "control": kind == CONTROLLED,
                   "milliseconds": study.costs[kind][name]["milliseconds"],
                   "peak_memory": study.costs[kind][name]["peak_memory"],
                   "model_evaluations": spent[kind, name],
                   "emprt_passes": all(passed[name].values()) if name in passed else None,
                   "matched": None} | _scores(part)  # fmt: skip
            alike = card[card["ranks"] & (card["kind"] == MATCHED) & (card["explainer"] == name)]
            if kind == EXPLAINER and len(alike):
                row["matched"] = {"model_evaluations": spent[MATCHED, name]} | _scores(alike)
            rows.append(row)
    return rows


def _scores(part: pd.DataFrame) -> dict[str, str]:
    """Mean and interval as text, by metric; images too few for an interval have none."""
    shown = {}
    for row in part.itertuples():
        interval = f" [{row.low:.3f}, {row.high:.3f}]" if row.n >= FEWEST else ""
        shown[row.metric] = f"{row.mean:.3f}{interval}" if row.n else ""
    return shown


def verdicts(study: Study) -> list[str]:
    """Which explanation to believe, in words; or why that was not measured."""
    said = [study.gate["refusal"]] if study.gate["refusal"] else study.ranking["verdicts"]
    return said + (study.shortcut["verdicts"] if study.shortcut else [])


def description(study: Study) -> str:
    """The study in a few lines of Markdown: what MLflow shows above its row's parameters and metrics."""
    m, level = study.metrics, f"{100 * study.params.evaluate.confidence:g} %"
    low, high = 100 * m["accuracy_low"], 100 * m["accuracy_high"]
    lines = [
        f"**{study.params.study.name}**: test accuracy **{100 * m['accuracy']:.2f} %** ({level} interval {low:.2f} to "
        f"{high:.2f}), macro F1 {m['macro_f1']:.3f}. The whole report is the artifact `index.html`.",
        "",
        *(f"- {sentence}" for sentence in verdicts(study)),
        "",
        "| hyperparameter | value | from |",
        "| --- | --- | --- |",
    ]
    used = [choice for choice in study.model["choices"] if choice["value"] is not None]
    return "\n".join(lines + [f"| {c['key']} | {_short(c['value'])} | {c['source']} |" for c in used])


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


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


def page(study: Study) -> str:
    """The whole study as one HTML file that needs no network."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("glassbox", "report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["percent"] = lambda value, digits=2: f"{100 * value:.{digits}f} %"
    environment.filters["number"] = lambda value: f"{value:,}"
    environment.filters["short"] = _short

    def picture(name: str) -> str:
        return "data:image/png;base64," + base64.b64encode((study.folder / name).read_bytes()).decode()

    explanations = [
        {"file": path, "group": path.stem.split("-")[1]}
        for path in sorted((study.folder / "explain/figures").glob("*.png"))
    ]
    return environment.get_template("page.html").render(
        study=study,
        style=(Path(__file__).parent / "page.css").read_text(encoding="utf-8"),
        picture=picture,
        has=lambda name: (study.folder / name).exists(),
        explanations={
            group: [str(e["file"].relative_to(study.folder)) for e in explanations if e["group"] == group]
            for group in ("chosen", "correct", "mistake", "pair")
        },
        explainers=explainer_table(study),
        shown=columns(study),
        verdicts=verdicts(study),
        used=stability_of_the_study(study),
        hypotheses=hypotheses_of(study),
        sentence=hypotheses.sentence,
        told={
            "recognised": analyses.recognised(study.index, study.recognised, study.analyst, study.card["has_masks"]),
            "mistakes": analyses.mistakes(
                study.mistakes,
                study.index,
                study.analyst,
                study.params.explain.analyses.hidden,
                len(study.card["classes"]),
            ),
            "pairs": analyses.pairs(study.confusable, study.analyst, len(study.card["classes"])),
        },
        analyst=TITLES[study.analyst],
        titles=MEASUREMENTS,
        names=TITLES,
        pair_pictures=sorted(
            str(path.relative_to(study.folder)) for path in (study.folder / "explain/analyses").glob("pair-*.png")
        ),
        panels={
            path.stem: str(path.relative_to(study.folder))
            for path in (study.folder / "explain/analyses/panels").glob("*.png")
        },
        parameters=config.flatten(study.params),
        dumps=json.dumps,
    )
