"""The study on one page, and in one small file: read from what the stages wrote, nothing is computed again."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from glassbox import chance, config, files, verdicts
from glassbox import headline as scores
from glassbox.families import MEASUREMENTS
from glassbox.names import CONTROLLED, EXPLAINER, MATCHED, analyst, title_of
from glassbox.report import card as cards
from glassbox.report import hypotheses, words


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
        machine: that trained.
        metrics: on the test split.
        calibration: which probabilities the study gives, and why; see `evaluation.calibration.Scaling`.
        predictions: one row a test image.
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
    machine: dict[str, Any]
    metrics: dict[str, Any]
    calibration: dict[str, Any]
    predictions: pd.DataFrame
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

    @property
    def judged_by(self) -> str:
        """The measure by which the search compared its trials; see `config.judged_by`."""
        return config.judged_by(self.params.train.class_weights, self.params.train.sampling)

    @property
    def n_explained(self) -> int:
        """Images that were explained, drawn or not."""
        return self.index["image"].nunique()

    @property
    def first_drawn(self) -> int:
        """The lowest number of an image that is drawn."""
        return int(self.index.loc[self.index["drawn"], "image"].min())

    @cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        """The maps and images of *explain*, on disk; see `explaining.arrays`."""
        return files.mapped_npz(self.folder / "explain/attributions.npz")

    @property
    def verdicts(self) -> list[str]:
        """Which explanation to believe, in words; or why that was not measured."""
        said = [self.gate["refusal"]] if self.gate["refusal"] else self.ranking["verdicts"]
        return said + (self.shortcut["verdicts"] if self.shortcut else [])

    @property
    def best_explainer(self) -> str:
        """The explainers that are better than every control by most measures, in a sentence; see `verdicts.best`."""
        return "Not scored." if self.ranking is None else verdicts.best(self.ranking)

    @property
    def opening(self) -> list[str]:
        """The study in three sentences at most, each of which a table of the report shows."""
        m, level = self.metrics, f"{100 * self.params.evaluate.confidence:g} %"
        accuracy = (
            f"The classifier recognises {words.percent(m['accuracy'])} of {m['images']:,} test images ({level} "
            f"interval {words.percent(m['accuracy_low'])} to {words.percent(m['accuracy_high'])}); always answering "
            f"{m['majority_class']} recognises {words.percent(m['majority_share'])}."
        )
        if self.ranking is None:
            return [accuracy, self.gate["refusal"]]
        return [accuracy, verdicts.overview(self.ranking)]

    @property
    def model_card(self) -> str:
        """Markdown; see `card`."""
        return cards.card(self)


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
        machine=files.read_json(folder / "train" / files.TIMES)["machine"],
        metrics=files.read_json(folder / "evaluate/metrics.json"),
        calibration=files.read_json(folder / "evaluate/calibration.json"),
        predictions=files.read_csv(folder / "evaluate/predictions.csv"),
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
    names = ("accuracy", "accuracy_low", "accuracy_high", "balanced_accuracy", "balanced_accuracy_low",
             "balanced_accuracy_high", "majority_share", "macro_precision", "macro_recall", "macro_f1", "log_loss",
             "brier", "ece", "log_loss_as_trained", "brier_as_trained", "ece_as_trained")  # fmt: skip
    row = {f"test_{name}": value for name, value in chance.numbers(study.metrics).items() if name in names}
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
        study.metrics, study.params.evaluate.target_accuracy, study.index, study.panels, study.recognised,
        study.mistakes, study.analyst, study.params.study.seed, study.card["has_masks"], study.ranking,
    )  # fmt: skip


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
            row = {"name": name, "title": title_of(name), "control": kind == CONTROLLED,
                   "milliseconds": study.costs[kind][name]["milliseconds"],
                   "peak_memory": study.costs[kind][name]["peak_memory"],
                   **{cost: spent[kind, name, cost] for cost in ("forward_passes", "backward_passes")},
                   "emprt_outcome": verdicts.EMPRT_WORDS[passed[name]["outcome"]] if name in passed else "",
                   "constant_maps": "{constant} of {images}".format(**constant[name]),
                   "matched": None} | _scores(part)  # fmt: skip
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
        f"{high:.2f}), balanced accuracy {cards.markdown(chance.balanced(m))}, macro F1 {m['macro_f1']:.3f}. "
        f"{cards.markdown(chance.sentence(m))} The whole report is the artifact `index.html`.",
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
        study, images, study_digest, explainers=explainer_table(study), columns=columns(study),
        used=stability_of_the_study(study), hypotheses=hypotheses_of(study), sentence=hypotheses.sentence,
        machine=study.machine,
    )  # fmt: skip
