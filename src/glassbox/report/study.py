"""All that the stages of a study have written, as the report reads it."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from glassbox.config.parameters import Params
from glassbox.config.train import judged_by
from glassbox.core import files
from glassbox.explainers.catalog import analyst
from glassbox.report import words
from glassbox.scoring import verdicts


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
        panels: one row for each map of Shapley values of many classes, or None without them.
        recognised, mistakes, confusable: the three analyses.
    """

    params: Params
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
        """The measure by which the search compared its trials; see `judged_by`."""
        return judged_by(self.params.train.class_weights, self.params.train.sampling)

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


def read(params: Params, reports: str | Path = "reports", model: str | Path = "models") -> Study:
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
