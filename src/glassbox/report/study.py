"""The files of a finished study, as the report reads them."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from glassbox.config.parameters import Params
from glassbox.core import files
from glassbox.explainers.catalog import analyst
from glassbox.report import words
from glassbox.scoring import verdicts


@dataclass(frozen=True)
class Study:
    """Everything that the stages wrote."""

    params: Params
    folder: Path  # reports/
    card: dict[str, Any]  # of the data
    search: dict[str, Any]  # the outcome
    trials: pd.DataFrame  # one row per trial
    model: dict[str, Any]  # its card
    training: dict[str, Any]  # the best epoch and its scores
    curves: pd.DataFrame  # one row per epoch
    machine: dict[str, Any]  # of the training
    metrics: dict[str, Any]  # scores on the test split
    calibration: dict[str, Any]  # which probabilities the study gives, and why; see `evaluation.calibration.Scaling`
    predictions: pd.DataFrame  # one row per test image
    report: pd.DataFrame  # scores by class
    pairs: pd.DataFrame  # the most confused ones
    index: pd.DataFrame  # one row per map
    gate: dict[str, Any]  # whether the model uses the planted evidence, or what masks mark, where there are any
    scorecard: pd.DataFrame | None  # one row per explainer, metric and setting; None where the gate refused to score
    ranking: dict[str, Any] | None  # orders, tests and verdicts; None likewise
    costs: dict[str, Any]  # of a map, by kind and explainer
    shortcut: dict[str, Any] | None  # what a watermark does to predictions and maps; None where the data have none
    audit: dict[str, Any] | None  # the search for shortcuts; None where there was none
    findings: pd.DataFrame | None  # its candidates, the confirmed ones first; None likewise
    repair: dict[str, Any] | None  # outcomes of repairs; None where nothing was repaired
    repaired: pd.DataFrame | None  # their comparisons, see `proof.compared`; None likewise
    stability: pd.DataFrame | None  # one row per image and number of LIME's samples; None where it was not measured
    panels: pd.DataFrame | None  # one row per map of Shapley values of many classes; None where there are none
    scored_index: pd.DataFrame | None  # one row per map of the scored images; None likewise
    values: pd.DataFrame | None  # the measured values, one row per subject and scored image; None likewise
    regions: pd.DataFrame  # one row per region and explained class of every image that is drawn
    # The three analyses.
    recognised: pd.DataFrame
    mistakes: pd.DataFrame
    confusable: pd.DataFrame

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes of the data, and others that the network predicted; see `evaluation.evaluate.Evaluation`."""
        of_data, predicted = self.card["classes"], set(self.predictions["predicted_class"])
        return (*of_data, *(name for name in self.model["classes"] if name in predicted and name not in of_data))

    @property
    def sizes(self) -> dict[str, int]:
        """Numbers of images by what they are called in a text: those of "train" are held out if nothing is trained."""
        held_out = {} if self.training["epochs"] else {"train": "held-out"}
        return {held_out.get(split, split): n for split, n in self.card["sizes"].items()}

    @property
    def analyst(self) -> str:
        """The explainer whose maps the analyses show."""
        return analyst(self.params.explain.explainers)

    @property
    def first_explainer(self) -> str:
        """The explainer whose maps are shown first: the most trustworthy one, or where that is not decided the
        analyst."""
        return (verdicts.trusted(self.ranking) if self.ranking else None) or self.analyst

    @property
    def misclassified(self) -> pd.DataFrame:
        """The rows of `predictions` that are wrong."""
        return self.predictions[self.predictions["true_class"] != self.predictions["predicted_class"]]

    @property
    def accuracy_ends(self) -> str:
        """The interval of the accuracy, with its level."""
        low, high = (words.percent(self.metrics[f"accuracy_{end}"]) for end in ("low", "high"))
        return f"{100 * self.params.evaluate.confidence:g} % interval {low} to {high}"

    @property
    def recipe(self) -> dict[str, Any]:
        """The section `train`, with the values that the search has found."""
        found = {row["key"]: row["value"] for row in self.model["choices"]}
        return {key: found.get(f"train.{key}", value) for key, value in self.params.train}

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

    @cached_property
    def scored_maps(self) -> np.ndarray:
        """The maps of the scored images, on disk, in the order of `scored_index`; see `score_tables.kept_maps`."""
        return files.mapped_npz(self.folder / "score/maps.npz")["maps"]

    @property
    def mask_gate(self) -> dict[str, Any] | None:
        """Whether the model uses what masks mark; None where there are none, or where the evidence was planted."""
        return self.gate.get("masks")

    @property
    def plausible(self) -> bool:
        """Whether masks are not known to be the truth about the model, so that localization is only plausibility."""
        return verdicts.plausible(self.gate)

    @property
    def verdicts(self) -> list[str]:
        """Which explanation to believe, in sentences; or why that was not measured."""
        scored = [self.gate["refusal"]] if self.gate["refusal"] else self.ranking["verdicts"]
        if self.mask_gate:
            scored = [self.mask_gate["sentence"], *scored]
        return scored + (self.shortcut["verdicts"] if self.shortcut else [])

    @property
    def shortcuts(self) -> list[str]:
        """What classes lean on, and what became of it when it was repaired, in sentences; none without a search."""
        repaired = [verdict["sentence"] for verdict in self.repair["verdicts"]] if self.repair else []
        return (self.audit["sentences"] if self.audit else []) + repaired

    @property
    def best_explainer(self) -> str:
        """The most trustworthy explainer, in a sentence; see `verdicts.best`."""
        return "Not scored." if self.ranking is None else verdicts.best(self.ranking)


def read(params: Params, reports: str | Path = "reports", model: str | Path = "models") -> Study:
    """Read a finished study.

    Raises:
        UserError: a file is missing or damaged; it is named.
    """
    folder = Path(reports)

    def table(name: str) -> pd.DataFrame:
        return files.read_csv(folder / name)

    def content(name: str) -> dict[str, Any]:
        return files.read_json(folder / name)

    def exists(name: str) -> bool:
        return (folder / name).exists()

    card, gate = content("prepare/card.json"), content("score/gate.json")
    audit = content("audit/audit.json") if exists("audit/audit.json") else {"searched": False}
    repair = content("repair/repair.json") if exists("repair/repair.json") else {"repaired": False}
    return Study(
        params=params,
        folder=folder,
        card=card,
        search=content("tune/best.json"),
        trials=table("tune/trials.csv"),
        model=files.read_json(Path(model) / "model.json"),
        training=content("train/metrics.json"),
        curves=table("train/curves.csv"),
        machine=content(f"train/{files.TIMES}")["machine"],
        metrics=content("evaluate/metrics.json"),
        calibration=content("evaluate/calibration.json"),
        predictions=table("evaluate/predictions.csv"),
        report=table("evaluate/classification_report.csv"),
        pairs=table("evaluate/confused_pairs.csv"),
        index=table("explain/index.csv"),
        gate=gate,
        scorecard=None if gate["refusal"] else table("score/scorecard.csv"),
        ranking=None if gate["refusal"] else content("score/ranking.json"),
        scored_index=None if gate["refusal"] else table("score/maps.csv"),
        values=None if gate["refusal"] else table("score/values.csv"),
        costs=content(f"score/{files.TIMES}"),
        shortcut=content("score/shortcut.json") if exists("score/shortcut.json") else None,
        audit=audit if audit["searched"] else None,
        findings=table("audit/findings.csv") if audit["searched"] else None,
        repair=repair if repair["repaired"] else None,
        repaired=table("repair/comparison.csv") if repair["repaired"] else None,
        stability=table("explain/lime_stability.csv") if exists("explain/lime_stability.csv") else None,
        panels=table("explain/panels.csv") if exists("explain/panels.csv") else None,
        regions=table("explain/regions.csv"),
        recognised=table("explain/recognised.csv"),
        mistakes=table("explain/mistakes.csv"),
        confusable=table("explain/pairs.csv"),
    )
