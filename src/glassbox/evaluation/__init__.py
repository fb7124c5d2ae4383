"""How well a classifier does on images it has never seen, and how well it knows it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from glassbox import chance
from glassbox.config import Evaluate
from glassbox.evaluation import calibration, classification
from glassbox.evaluation.augmented import augmented_accuracy
from glassbox.seeds import derive

__all__ = ["Evaluation", "augmented_accuracy", "evaluate"]


@dataclass(frozen=True)
class Evaluation:
    """All that is said about a classifier on its test split.

    Attributes:
        metrics: headline numbers by name, with what `chance.measure` says of the largest class.
        report: per-class precision, recall and F1 with intervals, and support.
        matrix: (K, K) confusion matrix, rows are true classes.
        pairs: all pairs of classes, most confused first.
        predictions: one row a test image: image, source_index, file where the source has files, true_class,
            predicted_class, confidence, then a probability for each class.
        probabilities: (N, K).
        reliability: tables of confidence bins before and after temperature scaling.
    """

    metrics: dict[str, Any]
    report: pd.DataFrame
    matrix: np.ndarray
    pairs: list[classification.ConfusedPair]
    predictions: pd.DataFrame
    probabilities: np.ndarray
    reliability: tuple[pd.DataFrame, pd.DataFrame]

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
            "reliability": self.reliability[0],
            "reliability_calibrated": self.reliability[1],
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

    Args:
        validation_logits, validation_labels: (M, K), (M,).
        logits, labels: (N, K), (N,).
        source_index: (N,) position of each test image in its source.
        classes: names.
        settings: the section `evaluate`.
        seed: of the study.
        files: (N,) names, where the source has them.
    """
    temperature = calibration.fit_temperature(validation_logits, validation_labels)
    log_p, calibrated = (calibration.log_probabilities(logits, t) for t in (1.0, temperature))
    p, p_calibrated = np.exp(log_p), np.exp(calibrated)
    predicted = p.argmax(axis=1)
    matrix = classification.confusion(labels, predicted, len(classes))
    report = classification.classification_report(labels, predicted, classes, settings.confidence)
    macro = report.iloc[-1]
    before, after = (calibration.reliability(q, labels, settings.calibration_bins) for q in (p, p_calibrated))
    accuracy, low, high = classification.accuracy_interval(
        int((predicted == labels).sum()), len(labels), settings.confidence
    )
    f1_low, f1_high = classification.macro_f1_interval(
        labels, predicted, len(classes), settings.confidence, derive(seed, "evaluate", "f1")
    )
    metrics = {
        "accuracy": accuracy,
        "accuracy_low": low,
        "accuracy_high": high,
        "macro_precision": float(macro["precision"]),
        "macro_recall": float(macro["recall"]),
        "macro_f1": float(macro["f1"]),
        "macro_f1_low": f1_low,
        "macro_f1_high": f1_high,
        "log_loss": calibration.log_loss(log_p, labels),
        "brier": calibration.brier(p, labels),
        "ece": calibration.expected_calibration_error(before),
        "temperature": temperature,
        "calibrated_log_loss": calibration.log_loss(calibrated, labels),
        "calibrated_brier": calibration.brier(p_calibrated, labels),
        "calibrated_ece": calibration.expected_calibration_error(after),
        "images": len(labels),
        "mistakes": int((predicted != labels).sum()),
    } | chance.measure(labels, predicted, classes, settings.confidence)
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
        metrics, report, matrix, classification.confused_pairs(matrix, p, labels),
        pd.concat([predictions, columns], axis=1), p, (before, after),
    )  # fmt: skip
