"""How well a classifier does on images it has never seen, and how well it knows it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from glassbox.config.evaluate import Evaluate
from glassbox.core.seeds import derive
from glassbox.evaluation import calibration, chance_level, classification
from glassbox.evaluation.augmented import augmented_accuracy

__all__ = ["Evaluation", "augmented_accuracy", "evaluate"]


@dataclass(frozen=True)
class Evaluation:
    """All that is said about a classifier on its test split.

    Attributes:
        metrics: headline numbers by name, with what `chance.measure` says of the largest class;
            `macro_f1_without_interval` is the reason why the macro F1 has no interval, or None.
        report: per-class precision, recall and F1 with intervals, and support.
        matrix: (K, K) confusion matrix, rows are true classes.
        pairs: all pairs of classes, most confused first.
        predictions: one row a test image: image, source_index, file where the source has files, true_class,
            predicted_class, confidence, then a probability for each class.
        probabilities: (N, K), those of the study: after temperature scaling where it is used, else as trained.
        scaling: of these probabilities.
        reliability, reliability_as_trained: tables of confidence bins of the probabilities of the study, and of those
            as trained.
    """

    metrics: dict[str, Any]
    report: pd.DataFrame
    matrix: np.ndarray
    pairs: list[classification.ConfusedPair]
    predictions: pd.DataFrame
    probabilities: np.ndarray
    scaling: calibration.Scaling
    reliability: pd.DataFrame
    reliability_as_trained: pd.DataFrame

    def reliability_tables(self) -> dict[str, pd.DataFrame]:
        """Tables of confidence bins by the name of the probabilities: both where temperature scaling is used."""
        tables = {"as trained": self.reliability_as_trained}
        if self.scaling.scaling_used:
            tables[f"after temperature scaling (T = {self.scaling.temperature:.3g})"] = self.reliability
        return tables

    def summary(self, confidence: float) -> list[str]:
        """The result in sentences.

        Args:
            confidence: level of the intervals, 0..1.
        """
        m = self.metrics
        sentences = []
        if "augmented_accuracy" in m:
            sentences.append(f"test accuracy on images changed at random {100 * m['augmented_accuracy']:.2f} %")
        interval = f"{100 * m['accuracy_low']:.2f} to {100 * m['accuracy_high']:.2f}"
        return [
            *sentences,
            f"test accuracy {100 * m['accuracy']:.2f} % ({100 * confidence:g} % interval {interval})",
            self.scaling.reason,
            f"balanced accuracy {chance_level.balanced(m)}. {chance_level.sentence(m)}",
        ]

    def tables(self, classes: tuple[str, ...], most_pairs: int) -> dict[str, pd.DataFrame]:
        """All of it but the metrics as tables, by name.

        Args:
            classes: names.
            most_pairs: rows in the table of confused pairs.
        """
        matrix = pd.DataFrame(self.matrix, columns=list(classes))
        matrix.insert(0, "true_class", classes, allow_duplicates=True)  # a class may have that name
        pairs = [
            {"a_class": classes[p.a], "b_class": classes[p.b], "a_as_b": p.ab, "b_as_a": p.ba}
            for p in self.pairs[:most_pairs]
        ]
        return {
            "classification_report": self.report,
            "confusion_matrix": matrix,
            "predictions": self.predictions,
            "confused_pairs": pd.DataFrame(pairs),
            "reliability": self.reliability,
            "reliability_as_trained": self.reliability_as_trained,
        }


def evaluate(
    validation_logits: np.ndarray,
    validation_labels: np.ndarray,
    logits: np.ndarray,
    labels: np.ndarray,
    source_index: np.ndarray,
    classes: tuple[str, ...],
    settings: Evaluate,
    seed: int,
    files: tuple[str, ...] | None = None,
) -> Evaluation:
    """Judge test logits (N, K); the validation ones serve only to fit the temperature.

    Probabilities are those of the study (see `calibration`). Of log loss, Brier score and calibration error (ECE) the
    metrics hold both: `ece` of the probabilities of the study, `ece_as_trained` of the softmax of the logits.

    Args:
        validation_logits, validation_labels: (M, K), (M,).
        logits, labels: (N, K), (N,).
        source_index: (N,) position of each test image in its source.
        classes: names.
        settings: the section `evaluate`.
        seed: of the study.
        files: (N,) names, where the source has them.
    """
    scaling = calibration.scale(validation_logits, validation_labels, derive(seed, "evaluate", "calibration"))
    log_p, log_p_as_trained = (calibration.log_probabilities(logits, t) for t in (scaling.temperature, 1.0))
    p, p_as_trained = np.exp(log_p), np.exp(log_p_as_trained)
    predicted = p.argmax(axis=1)
    matrix = classification.confusion(labels, predicted, len(classes))
    report = classification.classification_report(labels, predicted, classes, settings.confidence)
    macro = report.iloc[-1]
    bins = [calibration.reliability(q, labels, settings.calibration_bins) for q in (p, p_as_trained)]
    accuracy, low, high = classification.accuracy_interval(
        int((predicted == labels).sum()), len(labels), settings.confidence
    )
    too_few = classification.no_macro_f1_interval(matrix, classes)
    f1_ends = (None, None) if too_few else classification.macro_f1_interval(matrix, settings.confidence)
    metrics = {
        "accuracy": accuracy,
        "accuracy_low": low,
        "accuracy_high": high,
        "macro_precision": float(macro["precision"]),
        "macro_recall": float(macro["recall"]),
        "macro_f1": float(macro["f1"]),
        "macro_f1_low": f1_ends[0],
        "macro_f1_high": f1_ends[1],
        "macro_f1_without_interval": too_few,
        "log_loss": calibration.log_loss(log_p, labels),
        "brier": calibration.brier(p, labels),
        "ece": calibration.expected_calibration_error(bins[0]),
        "log_loss_as_trained": calibration.log_loss(log_p_as_trained, labels),
        "brier_as_trained": calibration.brier(p_as_trained, labels),
        "ece_as_trained": calibration.expected_calibration_error(bins[1]),
        "ece_by_chance": calibration.ece_by_chance(p, settings.calibration_bins, derive(seed, "evaluate", "ece")),
        "temperature": scaling.temperature,
        "images": len(labels),
        "mistakes": int((predicted != labels).sum()),
    } | chance_level.measure(labels, predicted, classes, settings.confidence)
    names = np.array(classes, dtype=object)
    predictions = pd.DataFrame(
        {
            "image": np.arange(len(labels)),
            "source_index": source_index,
            **({"file": files} if files else {}),
            "true_class": names[labels],
            "predicted_class": names[predicted],
            "confidence": p.max(axis=1),
        }
    )
    columns = pd.DataFrame(p, columns=[f"p({name})" for name in classes])
    return Evaluation(
        metrics,
        report,
        matrix,
        classification.confused_pairs(matrix, p, labels),
        pd.concat([predictions, columns], axis=1),
        p,
        scaling,
        *bins,
    )
